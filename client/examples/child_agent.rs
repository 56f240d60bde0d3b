//! A lead starts a child that may only read, and the child calls a resource through the gateway.
//!
//! Takes `CARACAL_STS_URL`, `CARACAL_GATEWAY_URL`, `CARACAL_ZONE_ID`, `CARACAL_APPLICATION_ID` and
//! `CARACAL_CLIENT_SECRET_FILE`; optionally `CARACAL_RESOURCE`, `CARACAL_SCOPES`, `CARACAL_LABEL`,
//! `CARACAL_METHOD` and `CARACAL_PATH`.
#![allow(clippy::print_stdout)]

use std::{env, error::Error, fs};

use caracal_client::{Client, Narrow};

fn variable(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let secret = fs::read_to_string(env::var("CARACAL_CLIENT_SECRET_FILE")?)?;
    let resource = variable("CARACAL_RESOURCE", "resource://demo");
    let scopes = variable("CARACAL_SCOPES", "demo:read");
    let label = variable("CARACAL_LABEL", "reader");
    let client = Client::new(
        &variable("CARACAL_STS_URL", "http://127.0.0.1:8080"),
        &env::var("CARACAL_ZONE_ID")?,
        &env::var("CARACAL_APPLICATION_ID")?,
        secret.trim(),
    )?
    .bootstrap_on(&resource);

    let lead = client.session().label(&label).start().await?;
    println!("lead  {}", lead.id());
    let narrow = Narrow::to(scopes.split(' ')).on(&resource).for_seconds(300);
    let child = lead.child().label(&label).narrow(narrow).start().await?;
    println!(
        "child {} under {}",
        child.id(),
        child.delegation().unwrap_or("nothing")
    );

    let gateway = variable("CARACAL_GATEWAY_URL", "http://127.0.0.1:8081");
    let gateway = child.gateway(&gateway, &resource, scopes.split(' '));
    let method = variable("CARACAL_METHOD", "GET").parse()?;
    let path = variable("CARACAL_PATH", "/demo/items");
    let answer = gateway.request(method, &path).await?.send().await?;
    println!("{} {}", answer.status(), answer.text().await?.trim());
    lead.end().await?;
    Ok(())
}
