//! In Envoy: the first worker to tick times all parts and writes what came out to the log.

use std::time::UNIX_EPOCH;

use proxy_wasm::{
    hostcalls,
    traits::{Context, RootContext},
    types::LogLevel,
};

use crate::{measure, parts};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    authority::policy::set_clock(|| std::time::Duration::from_nanos(clock()));
    proxy_wasm::set_root_context(|_| Box::new(Root));
}}

struct Root;

/// Data that all VMs share: who came first.
const TAKEN: &str = "micro/taken";

fn clock() -> u64 {
    let now = hostcalls::get_current_time().expect("a clock");
    let since = now.duration_since(UNIX_EPOCH).expect("after 1970");
    since.as_nanos() as u64
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        hostcalls::set_tick_period(std::time::Duration::from_millis(100)).is_ok()
    }

    fn on_tick(&mut self) {
        if !matches!(hostcalls::get_shared_data(TAKEN), Ok((Some(_), _))) {
            hostcalls::set_shared_data(TAKEN, Some(b"1"), None).expect("shared data");
            for part in &mut parts() {
                let took = measure(part, clock);
                log::info!(
                    "micro={} nanos={} ratio={}",
                    part.name,
                    took.nanos,
                    took.ratio
                );
            }
            log::info!("micro=done nanos=0 ratio=0");
        }
    }
}
