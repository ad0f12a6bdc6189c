use super::*;

const LIMIT: Duration = Duration::from_secs(20);

fn status() -> Status {
    let mut settings = Settings::default();
    settings.status.ready_lag = 1000;
    settings.status.stall_timeout = LIMIT;
    settings.sync.idle_period = Duration::from_secs(5);
    Status::new(&settings).expect("the metrics")
}

#[test]
fn only_a_sync_is_ready() {
    let (status, now) = (status(), Instant::now());
    for activity in Activity::ALL {
        status.enter(activity);
        let expected = format!("phase={}", activity.name());
        let expected = Some(expected).filter(|_| activity != Activity::Syncing);
        assert_eq!(status.unready(now), expected);
    }
}

#[test]
fn lag_makes_unready_by_bytes_and_by_age() {
    let status = status();
    let begin = Instant::now();
    let at = |seconds| begin + Duration::from_secs(seconds);
    status.enter(Activity::Syncing);
    let at_lsn = |position, received| {
        let received = Arc::new(AtomicU64::new(received));
        let flushed = Flushed::at(Lsn(position));
        *status.stream() = Stream { received, flushed };
    };
    let received = Arc::new(AtomicU64::new(5000));
    status.stream_begins(Flushed::at(Lsn(5000)), received, Duration::from_secs(1000));
    status.look(at(0));
    assert_eq!(status.unready(at(9_999)), None, "an idle database");
    status.look(at(100));
    at_lsn(5000, 5999);
    status.look(at(101));
    assert_eq!(status.unready(at(165)), None);
    // Little is missing, but for long.
    assert_eq!(status.unready(at(166)).as_deref(), Some("standstill_seconds=66"));
    at_lsn(5000, 6000);
    assert_eq!(status.unready(at(100)).as_deref(), Some("lag_bytes=1000 ready_lag=1000"));
    at_lsn(5990, 6000);
    status.look(at(166));
    assert_eq!(status.unready(at(166)), None);
    status.note_received(Transactions {
        committed_at: crate::time::PgTime(0),
        commit_lsn: Lsn(5995),
    });
    assert!(status.unready(at(166)).is_some_and(|why| why.starts_with("lag_seconds=")));
    at_lsn(6000, 6000);
    assert_eq!(status.unready(at(166)), None);
}

#[test]
fn a_stream_that_has_not_come_to_the_position_makes_unready_and_no_lag() {
    let (status, now) = (status(), Instant::now());
    status.enter(Activity::Syncing);
    let received = Arc::new(AtomicU64::new(4000));
    let flushed = Flushed::at(Lsn(5000));
    status.stream_begins(flushed, Arc::clone(&received), Duration::from_secs(1000));
    let expected = "received_lsn=0/FA0 position_lsn=0/1388";
    assert_eq!(status.unready(now).as_deref(), Some(expected));
    assert_eq!((status.lag_bytes(), status.lag()), (0, Duration::ZERO));
    received.store(5000, Ordering::Relaxed);
    assert_eq!(status.unready(now), None);
}

#[test]
fn a_server_that_is_silent_makes_unready_and_not_unhealthy() {
    let status = status();
    let begin = Instant::now();
    let at = |seconds| begin + Duration::from_secs(seconds);
    status.enter(Activity::Syncing);
    let received = Arc::new(AtomicU64::new(1));
    status.stream_begins(Flushed::at(Lsn(1)), received, Duration::from_secs(10));
    let receive = status.pulse("receive");
    receive.wait();
    status.look(at(0));
    assert_eq!(status.unready(at(30)), None);
    assert_eq!(status.unready(at(31)).as_deref(), Some("silence_seconds=31"));
    assert!(status.ills(at(31)).is_empty());
    receive.work();
    receive.wait();
    status.look(at(32));
    assert_eq!(status.unready(at(33)), None);
}
