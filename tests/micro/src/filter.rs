//! In Envoy: the first worker to tick times all parts and writes what came out to the log; or, if it is
//! configured with signatures, what is made of them.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::UNIX_EPOCH,
};

use authority::key::host::FUNCTION;
use proxy_wasm::{
    hostcalls,
    traits::{Context, RootContext},
    types::{BufferType, LogLevel},
};

use crate::{Case, measure, parts, verdicts, verification_by_host};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    authority::policy::set_clock(|| std::time::Duration::from_nanos(clock()));
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

#[derive(Default)]
struct Root {
    signatures: Option<Vec<Case>>,
}

/// How often the host has answered.
static ANSWERS: AtomicU64 = AtomicU64::new(0);

fn ask_host(arguments: &[u8]) -> Option<Vec<u8>> {
    let answer = hostcalls::call_foreign_function(FUNCTION, Some(arguments));
    ANSWERS.fetch_add(u64::from(answer.is_ok()), Ordering::Relaxed);
    answer.ok().map(Option::unwrap_or_default)
}

/// Data that all VMs share: who came first.
const TAKEN: &str = "micro/taken";

fn clock() -> u64 {
    let now = hostcalls::get_current_time().expect("a clock");
    let since = now.duration_since(UNIX_EPOCH).expect("after 1970");
    since.as_nanos() as u64
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        let configured = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size);
        let configured = configured.ok().flatten().unwrap_or_default();
        self.signatures = serde_json::from_slice(&configured).ok();
        hostcalls::set_tick_period(std::time::Duration::from_millis(100)).is_ok()
    }

    fn on_tick(&mut self) {
        if !matches!(hostcalls::get_shared_data(TAKEN), Ok((Some(_), _))) {
            hostcalls::set_shared_data(TAKEN, Some(b"1"), None).expect("shared data");
            if let Some(cases) = &self.signatures {
                let [host, tables, general] = verdicts(cases, ask_host);
                let answers = ANSWERS.load(Ordering::Relaxed);
                log::info!("signatures={host},{tables},{general},{answers} end");
                return;
            }
            let mut parts = parts();
            parts.push(verification_by_host(ask_host));
            for part in &mut parts {
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
