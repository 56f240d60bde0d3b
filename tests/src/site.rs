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

    /// Sends requests until one reaches the upstream: for a gateway that has yet to hear something.
    pub fn until_allowed(&self, request: impl Fn() -> Request) -> Arrival {
        eventually(&format!("{} is allowed", request()), || {
            let (response, arrival) = self.send(request());
            arrival.filter(|_| response.status == 200)
        })
    }

    /// Sends requests until one is refused in this way; those before it may be allowed.
    pub fn until_refused(&self, request: impl Fn() -> Request, expected: &Expected) {
        eventually(&format!("{} is refused: {}", request(), expected.2), || {
            let (response, _) = self.send(request());
            (response.status == expected.0 && response.json()["reason"] == expected.2.as_str())
                .then_some(())
        });
        self.refused(request(), expected);
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
