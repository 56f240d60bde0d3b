//! The ports of the demo, and `envoy.yaml` for other ports than its own.

use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use clap::Args;

use crate::{
    console::{Failure, OrFail, Result},
    workspace::Workspace,
};

const STS: u16 = 8080;
const GATEWAY: u16 = 8081;
const ADMIN: u16 = 9901;

#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Ports {
    /// Port of the STS
    #[arg(long = "sts-port", value_name = "PORT", default_value_t = STS, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) sts: u16,
    /// Port of the gateway
    #[arg(long = "gateway-port", value_name = "PORT", default_value_t = GATEWAY, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) gateway: u16,
    /// Port of Envoy's admin interface
    #[arg(long = "admin-port", value_name = "PORT", default_value_t = ADMIN, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) admin: u16,
}

impl Ports {
    pub(super) fn sts_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.sts)
    }

    pub(super) fn gateway_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.gateway)
    }

    /// Fails if another process listens on one of them. Envoy would not notice: it shares its ports.
    pub(super) fn check(&self) -> Result<()> {
        let all = [
            (self.sts, "the STS", "--sts-port"),
            (self.gateway, "the gateway", "--gateway-port"),
            (self.admin, "Envoy's admin interface", "--admin-port"),
        ];
        for (index, (port, what, flag)) in all.iter().enumerate() {
            if all.iter().take(index).any(|(other, ..)| other == port) {
                return Err(Failure::new(
                    format!("port {port} is given twice"),
                    format!("give {what} another with {flag}"),
                ));
            }
            if !becomes_free(*port) {
                return Err(Failure::new(
                    format!("port {port}, meant for {what}, is taken by another process"),
                    format!(
                        "end that process (`ss -ltnp 'sport = :{port}'` shows it) or choose another port with {flag}"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// `envoy.yaml` itself, or a copy of it with these ports in the state directory.
    pub(super) fn envoy_configuration(&self, workspace: &Workspace) -> Result<PathBuf> {
        let original = workspace.root().join("envoy.yaml");
        if (self.sts, self.gateway, self.admin) == (STS, GATEWAY, ADMIN) {
            return Ok(original);
        }
        let text = fs::read_to_string(&original)
            .or_fail(|| format!("cannot read {}", original.display()))?;
        let copy = workspace.state().join("envoy.yaml");
        fs::write(&copy, self.render(&text))
            .or_fail(|| format!("cannot write {}", copy.display()))?;
        Ok(copy)
    }

    /// Replaces the numbers that are default ports, all in one pass: two ports may be swapped.
    fn render(&self, text: &str) -> String {
        let mut rendered = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
            let (before, from_number) = rest.split_at(start);
            let end = from_number
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(from_number.len());
            let (number, after) = from_number.split_at(end);
            rendered.push_str(before);
            rendered.push_str(&match number.parse() {
                Ok(STS) => self.sts.to_string(),
                Ok(GATEWAY) => self.gateway.to_string(),
                Ok(ADMIN) => self.admin.to_string(),
                _ => number.to_owned(),
            });
            rest = after;
        }
        rendered + rest
    }
}

/// Waits a little: what a Ctrl-C has just ended may still be closing.
fn becomes_free(port: u16) -> bool {
    let started = Instant::now();
    loop {
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return true;
        }
        if started.elapsed() > Duration::from_secs(3) {
            return false;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_replaced_where_they_stand_as_numbers_of_their_own() {
        let ports = Ports {
            sts: 8081,
            gateway: 8080,
            admin: 19901,
        };
        let text = "issuer: http://127.0.0.1:8080\nport_value: 8081 }\nport_value: 9901\nlimit: 80800 0.0.0.0";
        let expected = "issuer: http://127.0.0.1:8081\nport_value: 8080 }\nport_value: 19901\nlimit: 80800 0.0.0.0";
        assert_eq!(ports.render(text), expected);
    }

    #[test]
    fn the_default_ports_leave_envoy_yaml_as_it_is() {
        let text = include_str!("../../../envoy.yaml");
        let ports = Ports {
            sts: STS,
            gateway: GATEWAY,
            admin: ADMIN,
        };
        assert_eq!(ports.render(text), text);
        let moved = Ports {
            sts: 18080,
            gateway: 18081,
            admin: 19901,
        }
        .render(text);
        for port in [STS, GATEWAY, ADMIN] {
            assert!(
                !moved.contains(&format!(": {port} ")),
                "{port} is still there"
            );
        }
    }

    #[test]
    fn a_port_that_is_taken_is_named_together_with_its_flag() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let message = Ports {
            sts: port,
            gateway: GATEWAY,
            admin: ADMIN,
        }
        .check()
        .unwrap_err()
        .to_string();
        assert!(
            message.contains(&format!("port {port}")) && message.contains("--sts-port"),
            "{message}"
        );
    }
}
