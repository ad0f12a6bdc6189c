//! A real browser, Debian's Chromium without a window, by its own protocol: JSON with a zero byte behind it, over pipes.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::{installed, wait_for};

/// A browser with one page, killed at the end of the test.
pub(crate) struct Browser {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// The page's session; none is for the browser itself.
    session: Option<String>,
    last_id: u64,
    /// What it told unasked, so far.
    events: Vec<Value>,
}

impl Browser {
    /// Starts it, its files being in `folder`. Where it cannot be installed it is said, and the caller goes without.
    pub(crate) fn start(folder: &Path) -> Option<Self> {
        let program = installed("chromium-headless-shell", "chromium-headless-shell")?;
        // Text has to have a font.
        installed("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", "fonts-dejavu-core")?;
        let mut child = Command::new("bash")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", "bash", &program])
            .args([
                "--remote-debugging-pipe",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ])
            .args(["--disable-background-networking", "--no-first-run", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", folder.join("browser").display()))
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (requests, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let answers = BufReader::new(answers);
        let (session, events) = (None, Vec::new());
        let mut browser = Self { child, requests, answers, session, last_id: 0, events };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", attach);
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Network", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Opens an address, in a window of this size.
    pub(crate) fn open(&mut self, address: &str, (width, height): (u32, u32)) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size);
        let navigated = self.call("Page.navigate", json!({"url": address}));
        assert_eq!(navigated.get("errorText"), None, "{navigated}");
        self.await_true("document.readyState === 'complete'");
    }

    /// Prefers the scheme `light` or `dark` from now on.
    pub(crate) fn prefer(&mut self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// Whether pages may run scripts from now on.
    pub(crate) fn allow_scripts(&mut self, allowed: bool) {
        self.call("Emulation.setScriptExecutionDisabled", json!({"value": !allowed}));
    }

    /// What an expression is in the page.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let arguments = json!({"expression": expression, "returnByValue": true});
        let evaluated = self.call("Runtime.evaluate", arguments);
        assert_eq!(evaluated.get("exceptionDetails"), None, "{expression}: {evaluated}");
        evaluated["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub(crate) fn await_true(&mut self, expression: &str) {
        wait_for(expression, || match self.evaluate(expression) {
            Value::Bool(true) => Ok(()),
            other => Err(format!("{other}\n{}", self.evaluate("document.body.innerText"))),
        });
    }

    /// A picture of the page, as a PNG.
    pub(crate) fn picture(&mut self) -> Vec<u8> {
        let arguments = json!({"format": "png", "captureBeyondViewport": true});
        let picture = self.call("Page.captureScreenshot", arguments);
        BASE64_STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()
    }

    /// The addresses that the pages have asked for.
    pub(crate) fn asked_for(&self) -> Vec<String> {
        let asked = self.told("Network.requestWillBeSent");
        asked.map(|event| event["request"]["url"].as_str().unwrap().to_owned()).collect()
    }

    /// What the pages' scripts have failed at, and what a policy has forbidden them.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let failed = self.told("Runtime.exceptionThrown");
        let logged =
            self.told("Log.entryAdded").filter(|event| event["entry"]["source"] != "network");
        failed.chain(logged).map(Value::to_string).collect()
    }

    fn told<'b>(&'b self, method: &'b str) -> impl Iterator<Item = &'b Value> {
        self.events
            .iter()
            .filter(move |event| event["method"] == method)
            .map(|event| &event["params"])
    }

    fn call(&mut self, method: &str, arguments: Value) -> Value {
        self.last_id += 1;
        let mut request = json!({"id": self.last_id, "method": method, "params": arguments});
        if let Some(session) = &self.session {
            request["sessionId"] = json!(session);
        }
        self.requests.write_all(format!("{request}\0").as_bytes()).unwrap();
        loop {
            let mut text = Vec::new();
            self.answers.read_until(0, &mut text).unwrap();
            assert_eq!(text.pop(), Some(0), "the browser has ended at {method}");
            let answer: Value = serde_json::from_slice(&text).unwrap();
            if answer["id"] == self.last_id {
                assert_eq!(answer.get("error"), None, "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its other processes end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
