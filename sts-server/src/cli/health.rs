//! `caracal health`.

use serde_json::{Value, json};

use super::{Context, error::CliError};

pub(super) fn run(context: &Context<'_>) -> Result<(), CliError> {
    let client = context.public()?;
    let healthy = client.answers("/health")?;
    let (status, detail) = client.status("/ready")?;
    let ready = status == 200;
    let state = match (healthy, ready) {
        (true, true) => "ready",
        (true, false) => "up, not ready",
        (false, _) => "unhealthy",
    };
    let mut text = format!("{}  {state}\n", client.url());
    if !ready && detail != Value::Null {
        text += &format!("{detail}\n");
    }
    let report = json!({"url": client.url(), "healthy": healthy, "ready": ready, "detail": detail});
    context.output.either(&text, &report)?;
    if healthy && ready {
        Ok(())
    } else {
        Err(CliError::Finding(format!(
            "the server at {} is {state}",
            client.url()
        )))
    }
}
