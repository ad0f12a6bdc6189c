//! The dashboard: a real Prometheus that scrapes a real daemon has an answer to each of its questions.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::{Load, Pages, Random, SCHEMA, Servers, installed, wait_for};

const DASHBOARD: &str = include_str!("../scripts/pg2etcd-dashboard.json");

/// A Prometheus that scrapes one daemon twice a second, killed at the end of the test.
struct Prometheus {
    child: Child,
    pages: Pages,
}

impl Prometheus {
    fn start(program: &str, servers: &Servers, scraped: &Pages) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let folder = servers.folder.join("prometheus");
        fs::create_dir(&folder).unwrap();
        let settings = format!(
            "scrape_configs:\n- job_name: pg2etcd\n  scrape_interval: 500ms\n  scrape_timeout: 500ms\n  \
             static_configs:\n  - targets: ['{}']\n",
            scraped.address
        );
        fs::write(folder.join("prometheus.yml"), settings).unwrap();
        let child = Command::new(program)
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={address}"))
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap();
        let prometheus = Self { child, pages: Pages { address } };
        wait_for("Prometheus", || {
            let is_there = std::net::TcpStream::connect(&prometheus.pages.address);
            is_there.map(drop).map_err(|error| error.to_string())
        });
        prometheus
    }

    /// The series that an expression gives now.
    fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        // With HTTP/1.0 the answer comes in one piece, and ends with the connection.
        let request = format!("GET /api/v1/query?query={encoded} HTTP/1.0\r\n\r\n");
        let answer = self.pages.ask(request.as_bytes());
        let json: Value = serde_json::from_str(&answer.body).map_err(|_| answer.body.clone())?;
        match (json["status"].as_str(), json["data"]["result"].as_array()) {
            (Some("success"), Some(series)) if !series.is_empty() => Ok(series.clone()),
            _ => Err(answer.body),
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Each expression of the dashboard with its panel, with something for what Grafana fills in.
fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().unwrap();
    let of_panel = |panel: &Value| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().unwrap().clone();
        targets.into_iter().map(move |target| {
            let expression = target["expr"].as_str().unwrap();
            let filled = expression
                .replace("$__rate_interval", "30s")
                .replace("$job", ".*")
                .replace("$instance", ".*");
            (title.clone(), filled)
        })
    };
    panels.iter().flat_map(of_panel).collect()
}

#[test]
fn each_expression_has_an_answer() {
    let Some(program) = installed("prometheus", "prometheus") else { return };
    let servers = Servers::start();
    servers.execute(SCHEMA);
    servers.execute("CREATE TABLE keyless (n int); CREATE PUBLICATION pg2etcd FOR ALL TABLES");
    let launch = servers.daemon().set("sync.compare_period", "1s");
    let mut daemon = launch.set("status.listen", "127.0.0.1:0").start();
    let pages = daemon.pages();
    daemon.await_line("Resuming from ");
    let prometheus = Prometheus::start(&program, &servers, &pages);
    let load = Load::start(&servers, &mut Random::new(), 1);

    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let expressions = expressions(&dashboard);
    assert!(expressions.len() > 15, "{expressions:?}");
    for (title, expression) in &expressions {
        assert!(!expression.contains('$'), "{title}: {expression}");
        wait_for(&format!("{title}: {expression}"), || prometheus.query(expression));
    }
    // It asks for each metric that there is.
    for name in pages.metrics().into_keys() {
        let name = name.split('{').next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let family = family.unwrap_or(name);
        let is_asked = expressions.iter().any(|(_, expression)| expression.contains(family));
        assert!(is_asked || family == "pg2etcd_position_lsn_bytes", "{family}");
    }
    load.stop();
}
