//! The service as a process on SQLite: an order comes in, is paid through the webhook, and is fulfilled across a restart.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running service.
struct Service {
    process: Child,
    address: String,
}

/// An answer over HTTP.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// A server-sent event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Event {
    name: String,
    id: String,
    data: String,
}

impl Service {
    fn start(folder: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_service"))
            .args(["--store", "sqlite://shop.db", "--listen", "127.0.0.1:0"])
            .args(["--webhook-secret", "hush", "--pack-ms", "500"])
            .current_dir(folder)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("UTF-8");
        let address = line.trim_end().strip_prefix("listening on http://").expect("its address");
        Self { address: address.to_owned(), process }
    }

    /// Sends a request and returns the connection, for the answer. Connections of HTTP/1.0 end with the answer.
    fn send(&self, request: &str, headers: &[&str], body: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let length = body.len();
        write!(stream, "{request} HTTP/1.0\r\n{headers}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
            .expect("it reads");
        BufReader::new(stream)
    }

    fn ask(&self, request: &str, headers: &[&str], body: &str) -> Answer {
        let mut answer = String::new();
        self.send(request, headers, body).read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), &[], "")
    }

    fn pay(&self, order: &str, secret: &str) -> u16 {
        let body = format!(r#"{{"order": "{order}", "accepted": true}}"#);
        self.ask("POST /webhooks/payment", &[&format!("x-webhook-secret: {secret}")], &body).status
    }

    /// The events of an order after this one.
    fn events(&self, order: &str, after: &str) -> Events {
        let headers = [format!("last-event-id: {after}")];
        let headers: Vec<_> = headers.iter().filter(|_| !after.is_empty()).map(String::as_str).collect();
        let mut stream = self.send(&format!("GET /orders/{order}/events"), &headers, "");
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).expect("a head");
        }
        Events(stream)
    }

    fn terminate(&self) {
        let killed = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status();
        assert!(killed.expect("a process").success());
    }

    /// Waits for its end, and returns whether it was a success.
    fn ended(mut self) -> bool {
        self.process.wait().expect("its end").success()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // If a test fails.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The events of a connection.
struct Events(BufReader<TcpStream>);

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let mut event = Event::default();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).expect("UTF-8") == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some(("event", name)) => name.clone_into(&mut event.name),
                Some(("id", id)) => id.clone_into(&mut event.id),
                Some(("data", data)) => data.clone_into(&mut event.data),
                _ if !event.name.is_empty() => return Some(event),
                // A comment that keeps the connection open.
                _ => {}
            }
        }
    }
}

#[test]
fn an_order_is_paid_by_webhook_and_fulfilled_across_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = Service::start(folder.path());
    let items = ["bell", "chain", "light", "pedals", "saddle"];

    // An order is taken once, and answered with a link.
    let order = format!(r#"{{"number": "A-17", "items": {items:?}}}"#);
    let taken = service.ask("POST /orders", &[], &order);
    assert_eq!(taken.status, 202, "{taken:?}");
    assert!(taken.head.contains("location: /orders/a-17"), "{taken:?}");
    assert_eq!(service.ask("POST /orders", &[], &order).status, 200, "it was taken before");
    assert_eq!(service.ask("POST /orders", &[], r#"{"number": "", "items": []}"#).status, 422);
    assert_eq!(service.get("/orders/B-1").status, 404);

    // The probes and the metrics are those of the worker inside.
    assert_eq!((service.get("/livez").status, service.get("/readyz").status), (200, 200));
    let metrics = service.get("/metrics").body;
    let dispatched = r#"stent_executions_dispatched_total{function="fulfil","#;
    assert!(metrics.lines().any(|line| line.starts_with(dispatched)), "{metrics}");

    // The webhook knows the order's number only.
    let mut events = service.events("A-17", "");
    assert_eq!(events.next().expect("an event").data, "waiting for the payment");
    assert_eq!(service.pay("A-17", "wrong"), 401);
    assert_eq!(service.pay("B-1", "hush"), 404);
    assert_eq!(service.pay("A-17", "hush"), 202);

    // It is told to stop while it packs: it drains, ends the stream and exits.
    let mut seen: Vec<Event> = events.by_ref().take_while_inclusive(|event| event.data != "packed bell");
    service.terminate();
    seen.extend(events);
    assert!(seen.iter().all(|event| event.name == "progress"), "the order had not ended: {seen:?}");
    assert!(service.ended());

    // The next process goes on where the first has stopped, and so does the reader.
    let service = Service::start(folder.path());
    let last = seen.last().expect("it has seen some").id.clone();
    seen.extend(service.events("A-17", &last));
    let end = seen.pop().expect("an end");
    assert_eq!(end.name, "end", "{end:?}");
    assert!(end.data.contains(r#""status":"completed""#) && end.data.contains("A-17/saddle"), "{end:?}");
    let packed = items.map(|item| format!("packed {item}"));
    let expected = ["paid"].into_iter().chain(packed.iter().map(String::as_str)).chain(["shipped"]);
    assert_eq!(
        seen.iter().map(|event| event.data.as_str()).collect::<Vec<_>>(),
        expected.collect::<Vec<_>>()
    );

    let shown = service.get("/orders/A-17").body;
    assert!(shown.contains(r#""status":"completed""#) && shown.contains(r#""outcome":"shipped""#), "{shown}");
    assert_eq!(service.pay("A-17", "hush"), 200, "late news change nothing");
    service.terminate();
    assert!(service.ended());
}

/// Takes the items of an iterator up to and including the first that does not fit.
trait TakeWhileInclusive: Iterator + Sized {
    fn take_while_inclusive(self, fits: impl Fn(&Self::Item) -> bool) -> Vec<Self::Item> {
        let mut taken = Vec::new();
        for item in self {
            let is_last = !fits(&item);
            taken.push(item);
            if is_last {
                break;
            }
        }
        taken
    }
}

impl<I: Iterator> TakeWhileInclusive for I {}
