//! Posting.

use std::fs;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::connection::{Connection, number_after};
use crate::requests::{self, Request};
use crate::{Result, now, wait_for_go};

/// One txn after the other, each guarded by what the one before made of the position.
pub(crate) fn sequential(file: &str, operations: usize) -> Result<()> {
    let mut requests = requests::read(file, operations, true)?;
    let mut connection = Connection::open()?;
    wait_for_go()?;
    let (start, cpu) = (Instant::now(), cpu_seconds()?);
    let mut revision = 0;
    for request in &mut requests {
        request.set_fence(revision);
        revision = post(&mut connection, request)?;
    }
    report(&requests, start, cpu_seconds()? - cpu);
    Ok(())
}

/// Over several connections; each takes the next txn that there is.
pub(crate) fn parallel(file: &str, connections: usize, operations: usize) -> Result<()> {
    let requests = requests::read(file, operations, false)?;
    let connections: Vec<_> =
        (0..connections).map(|_| Connection::open()).collect::<Result<_>>()?;
    wait_for_go()?;
    let start = Instant::now();
    let rest = Mutex::new(requests.iter());
    let cpu = thread::scope(|scope| {
        let threads: Vec<_> = connections
            .into_iter()
            .map(|connection| scope.spawn(|| post_rest(connection, &rest)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a thread panicked".to_owned())?)
            .sum::<std::result::Result<f64, String>>()
    })?;
    report(&requests, start, cpu);
    Ok(())
}

/// Posts what is left, and returns the processor time that it took, in seconds.
fn post_rest<'a>(
    mut connection: Connection,
    rest: &Mutex<impl Iterator<Item = &'a Request>>,
) -> std::result::Result<f64, String> {
    let mut work = || -> Result<f64> {
        let cpu = cpu_seconds()?;
        loop {
            let next = rest.lock().map_err(|error| error.to_string())?.next();
            let Some(request) = next else { return Ok(cpu_seconds()? - cpu) };
            post(&mut connection, request)?;
        }
    };
    // What fails in another thread has to be one that can be sent.
    work().map_err(|error| error.to_string())
}

/// Posts a txn and returns its revision.
fn post(connection: &mut Connection, request: &Request) -> Result<u64> {
    let reply = connection.ask(&request.bytes)?;
    if memchr::memmem::find(reply, b"\"succeeded\":true").is_none() {
        return Err("the compare did not hold: the store was not empty".into());
    }
    Ok(number_after(reply, b"\"revision\":\"").ok_or("a reply without a revision")?)
}

/// One put a txn, at a steady rate; what comes too late is sent at once.
pub(crate) fn pace(file: &str, rate: f64) -> Result<()> {
    let requests = requests::read(file, 1, false)?;
    let text = fs::read_to_string(file)?;
    let keys = text.lines().filter_map(|line| line.split('\t').next());
    let mut connection = Connection::open()?;
    wait_for_go()?;
    let (start, mut sent) = (Instant::now(), Vec::new());
    for (index, request) in requests.iter().enumerate() {
        let due = Duration::from_secs_f64(index as f64 / rate);
        thread::sleep(due.saturating_sub(start.elapsed()));
        sent.push(now());
        post(&mut connection, request)?;
    }
    for (key, at) in keys.zip(sent) {
        println!("{key} {at:.6}");
    }
    Ok(())
}

fn report(requests: &[Request], start: Instant, cpu: f64) {
    let seconds = start.elapsed().as_secs_f64();
    let puts: usize = requests.iter().map(|request| request.puts).sum();
    println!(
        r#"{{"puts":{puts},"txns":{},"seconds":{seconds:.6},"cpu_us_per_put":{:.3}}}"#,
        requests.len(),
        cpu * 1e6 / puts as f64
    );
}

/// How long this thread has been on a processor, in user mode and in the kernel.
fn cpu_seconds() -> Result<f64> {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = schedstat.split(' ').next().unwrap_or_default();
    Ok(nanoseconds.parse::<f64>()? / 1e9)
}
