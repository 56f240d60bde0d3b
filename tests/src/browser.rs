//! A real browser without a window: Chromium, driven by WebDriver (W3C).

use std::{
    env, fs,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use ureq::Agent;

use crate::{PATIENCE, eventually, process::Process};

/// A browser with one page; it ends when this is dropped.
pub struct Browser {
    agent: Agent,
    session: String,
    _process: Process,
    _dir: tempfile::TempDir,
}

/// Key under which WebDriver refers to an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

impl Browser {
    /// Starts Chromium: `CHROMEDRIVER` and `CHROMIUM` name the two binaries, or they are in `PATH`.
    pub fn start() -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(binary("CHROMEDRIVER", "chromedriver"));
        command
            .arg(format!("--port={port}"))
            .env("HOME", dir.path())
            .env("TMPDIR", dir.path());
        let mut process = Process::start(&command, dir.path());
        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .proxy(None)
            .build()
            .into();
        let base = format!("http://127.0.0.1:{port}");
        eventually("chromedriver is ready", || {
            process.check();
            let mut answer = agent.get(format!("{base}/status")).call().ok()?;
            let status: Value = answer.body_mut().read_json().ok()?;
            (status["value"]["ready"] == true).then_some(())
        });
        let profile = dir.path().join("profile");
        fs::create_dir(&profile).unwrap();
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {
                "binary": binary("CHROMIUM", "chromium"),
                "args": [
                    "--headless=new",
                    // Tests run as root in containers, where Chromium's own sandbox does not.
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-dev-shm-usage",
                    "--no-first-run",
                    "--window-size=1400,1000",
                    format!("--user-data-dir={}", profile.display()),
                ],
            },
        }}});
        let mut answer = agent
            .post(format!("{base}/session"))
            .send_json(&capabilities)
            .unwrap();
        let made: Value = answer.body_mut().read_json().unwrap();
        let id = made["value"]["sessionId"]
            .as_str()
            .unwrap_or_else(|| panic!("no session: {made}: {}", process.log_end()));
        Self {
            agent,
            session: format!("{base}/session/{id}"),
            _process: process,
            _dir: dir,
        }
    }

    fn call(&self, path: &str, body: &Value) -> Result<Value, Value> {
        let url = format!("{}{path}", self.session);
        let mut answer = self.agent.post(url).send_json(body).unwrap();
        let mut read: Value = answer.body_mut().read_json().unwrap();
        if answer.status().is_success() {
            Ok(read["value"].take())
        } else {
            Err(read)
        }
    }

    /// Goes to a page.
    pub fn open(&self, url: &str) {
        self.call("/url", &json!({"url": url})).unwrap();
    }

    /// What a script gives in the page.
    pub fn script(&self, script: &str) -> Value {
        self.call("/execute/sync", &json!({"script": script, "args": []}))
            .unwrap()
    }

    fn element(&self, selector: &str) -> Option<String> {
        let found = self.call(
            "/element",
            &json!({"using": "css selector", "value": selector}),
        );
        Some(found.ok()?[ELEMENT].as_str()?.to_owned())
    }

    /// Waits for an element, and clicks it as a person does: it must be seen, and nothing before it.
    pub fn click(&self, selector: &str) {
        eventually(&format!("{selector} is clicked"), || {
            let element = self.element(selector)?;
            let path = format!("/element/{element}/click");
            self.call(&path, &json!({})).ok()
        });
    }

    /// Waits for an element and types into it.
    pub fn enter(&self, selector: &str, text: &str) {
        eventually(&format!("{selector} is typed into"), || {
            let element = self.element(selector)?;
            self.call(&format!("/element/{element}/clear"), &json!({}))
                .ok()?;
            let path = format!("/element/{element}/value");
            self.call(&path, &json!({"text": text})).ok()
        });
    }

    /// Waits until what an element shows has `wanted` in it; what it shows.
    pub fn sees(&self, selector: &str, wanted: &str) -> String {
        let read = format!(
            "return document.querySelector({})?.innerText ?? ''",
            json!(selector)
        );
        let shown = || self.script(&read).as_str().unwrap_or_default().to_owned();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = shown();
            if text.contains(wanted) {
                return text;
            }
            assert!(
                Instant::now() < deadline,
                "{selector} never showed {wanted:?}, but: {text}"
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// How many elements there are.
    pub fn count(&self, selector: &str) -> u64 {
        let script = format!(
            "return document.querySelectorAll({}).length",
            json!(selector)
        );
        self.script(&script).as_u64().unwrap_or_default()
    }

    /// What the page complained of since this was last asked: scripts that failed, and what its policy
    /// kept from happening.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.call("/se/log", &json!({"type": "browser"})).unwrap();
        let entries = log.as_array().cloned().unwrap_or_default();
        entries
            .iter()
            .filter(|entry| entry["level"] == "SEVERE")
            .filter_map(|entry| entry["message"].as_str().map(str::to_owned))
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.agent.delete(&self.session).call();
    }
}

fn binary(variable: &str, name: &str) -> PathBuf {
    let on_path = || {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path)
            .map(|dir| dir.join(name))
            .find(|file| file.is_file())
    };
    env::var_os(variable)
        .map(PathBuf::from)
        .or_else(on_path)
        .unwrap_or_else(|| panic!("there is no {name} in PATH: set {variable}, or run the tests by `cargo xtask test`, which gets one"))
}
