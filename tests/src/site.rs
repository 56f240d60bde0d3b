//! A site: a gateway with its upstream, and the two things that tests say about requests to it.

use serde_json::Value;

use crate::{
    eventually,
    gateway::{Gateway, GatewaySpec},
    http::{Connection, Request, Response},
    refusals::{self, Expected},
    upstream::{Arrival, Upstream},
};

/// A gateway and what stands behind it.
pub struct Site {
    /// The gateway.
    pub gateway: Gateway,
    /// The upstream.
    pub upstream: Upstream,
}

impl Site {
    /// A gateway with one worker that has all it needs in its configuration.
    pub fn stand_alone(plugin: Value) -> Self {
        let upstream = Upstream::start();
        let gateway = GatewaySpec::new(plugin, upstream.address()).start();
        Self { gateway, upstream }
    }

    /// Sends a request on a connection of its own; gives the response and what arrived upstream.
    pub fn send(&self, request: Request) -> (Response, Option<Arrival>) {
        let mut connection = Connection::open(self.gateway.address()).unwrap();
        self.send_on(&mut connection, request)
    }

    /// The same on an open connection.
    pub fn send_on(
        &self,
        connection: &mut Connection,
        request: Request,
    ) -> (Response, Option<Arrival>) {
        let (request, tag) = request.tagged();
        let response = connection
            .exchange(&request)
            .unwrap_or_else(|error| panic!("{request}: {error}: {}", self.gateway.log_end()));
        (response, self.upstream.arrival(&tag))
    }

    /// How many workers hold a connection of a client.
    pub fn workers_with_connections(&self) -> usize {
        let stats = self.gateway.stats("worker_.*downstream_cx_active");
        let busy = stats.iter().filter(|(name, active)| {
            name.starts_with("listener.") && !name.contains("admin") && *active > 0
        });
        busy.count()
    }

    /// Sends requests until every worker lets one through: for a gateway that has yet to hear
    /// something, which its workers do one after the other. Gives what arrived last.
    pub fn until_allowed(&self, request: impl Fn() -> Request) -> Arrival {
        eventually(&format!("every worker allows {}", request()), || {
            let mut arrivals = self
                .on_every_worker(&request)
                .into_iter()
                .map(|(response, arrival)| arrival.filter(|_| response.status == 200));
            arrivals.try_fold(None, |_, arrival| Some(Some(arrival?)))?
        })
    }

    /// Sends requests until every worker refuses one in this way; those before it may be allowed.
    pub fn until_refused(&self, request: impl Fn() -> Request, expected: &Expected) {
        let what = format!("every worker refuses {}: {}", request(), expected.2);
        eventually(&what, || {
            let answers = self.on_every_worker(&request);
            let refused = answers.iter().all(|(response, _)| {
                response.status == expected.0 && response.json()["reason"] == expected.2.as_str()
            });
            refused.then_some(())
        });
        self.refused(request(), expected);
    }

    /// Sends a request to each worker, some more than once: connections that are open together are
    /// shared out evenly, and two for each worker leave room for those that are just closing.
    pub fn on_every_worker(
        &self,
        request: impl Fn() -> Request,
    ) -> Vec<(Response, Option<Arrival>)> {
        let mut connections: Vec<Connection> = (0..2 * self.gateway.workers())
            .map(|_| Connection::open(self.gateway.address()).unwrap())
            .collect();
        connections
            .iter_mut()
            .map(|connection| self.send_on(connection, request()))
            .collect()
    }

    /// Sends a request that has to reach the upstream.
    pub fn allowed(&self, request: Request) -> Arrival {
        let shown = request.to_string();
        let (response, arrival) = self.send(request);
        assert_eq!(response.status, 200, "{shown}: {response}");
        assert_eq!(response.text(), "upstream", "{shown}");
        arrival.unwrap_or_else(|| panic!("{shown}: answered, but not by the upstream"))
    }

    /// Sends a request that has to be refused, and must not reach the upstream.
    pub fn refused(&self, request: Request, expected: &Expected) -> Response {
        let shown = request.to_string();
        let (response, arrival) = self.send(request);
        refusals::check(&response, expected, &shown);
        assert!(arrival.is_none(), "{shown}: refused, and yet it arrived");
        response
    }
}
