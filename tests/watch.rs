//! `status -w`: a block each second in a pipe, in place on a terminal.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Launch, SCHEMA, Servers, caught_up, wait_for, wait_until};

/// Exit status of a process whose end is near.
fn exit_status(child: &mut Child) -> Option<i32> {
    wait_for("its end", || child.try_wait().unwrap().ok_or_else(String::new)).code()
}

#[test]
fn a_pipe_gets_a_block_each_second() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let launch = servers.daemon();
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    caught_up(&servers);
    let mut watch = launch.command(&["status", "-w"]).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut block = || {
        let lines = lines.by_ref().map(Result::unwrap).take_while(|line| !line.is_empty());
        lines.collect::<Vec<_>>().join("\n")
    };
    let first = block();
    assert!(first.starts_with("phase                sync\n"), "{first}");
    assert!(!first.contains("/s)"), "{first}");
    let begin = Instant::now();
    let second = block();
    assert!(second.contains("/s)\nconfirmed_flush_lsn"), "the second has rates: {second}");
    let third = block();
    assert!(third.contains("lag_seconds          0\n"), "{third}");
    assert!((1.0..30.0).contains(&begin.elapsed().as_secs_f64()), "{:?}", begin.elapsed());
    kill_process(Pid::from_child(&watch), Signal::INT).unwrap();
    assert_eq!(exit_status(&mut watch), Some(0), "as the last block says");

    // Nobody reads on; and a daemon that is gone is seen.
    let mut watch = launch.command(&["status", "-jw"]).spawn().unwrap();
    let mut output = BufReader::new(watch.stdout.take().unwrap());
    daemon.stop();
    wait_until("an object without a daemon", || {
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        line.contains("\"active_pid\": null")
    });
    drop(output);
    assert_eq!(exit_status(&mut watch), Some(1));
}

/// Runs `status -w` on a terminal of its own.
fn on_a_terminal(launch: &Launch) -> Child {
    let command = launch.command(&["status", "-w"]);
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let quoted: Vec<_> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    Command::new("script")
        // A shell between would die of the signal that Ctrl-C makes.
        .args(["-qefc", &format!("exec {}", quoted.join(" ")), "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script(1), of the package bsdutils")
}

#[test]
fn a_terminal_is_drawn_upon_and_left_as_it_was() {
    let servers = Servers::start();
    let launch = servers.daemon();
    // Ctrl-C is a key of the terminal: it makes a signal of it.
    for key in [b"q", b"\x03"] {
        let mut watch = on_a_terminal(&launch);
        let mut output = watch.stdout.take().unwrap();
        let mut seen = Vec::new();
        let mut bytes = [0; 4096];
        while String::from_utf8_lossy(&seen).matches("q quits").count() < 2 {
            let count = output.read(&mut bytes).unwrap();
            assert!(count > 0, "{}", String::from_utf8_lossy(&seen));
            seen.extend(&bytes[..count]);
        }
        watch.stdin.as_mut().unwrap().write_all(key).unwrap();
        output.read_to_end(&mut seen).unwrap();
        assert_eq!(exit_status(&mut watch), Some(1), "no daemon");
        let seen = String::from_utf8_lossy(&seen);
        assert!(seen.contains("\x1b[H") && seen.contains("phase                never copied"));
        let (_, after) = seen.rsplit_once("\x1b[?1049l").expect("the first screen again");
        assert!(after.starts_with("phase                never copied"), "{after:?}");
    }
}
