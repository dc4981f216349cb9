//! Programs that a test runs: every line they print is kept, to be waited for and to be shown
//! when the test fails.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::inside;

/// Far beyond what anything here takes; reaching it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a program has printed so far.
pub struct Log {
    name: String,
    state: Mutex<Printed>,
    changed: Condvar,
}

#[derive(Default)]
struct Printed {
    lines: Vec<(Stream, String)>,
    /// Streams that have not ended.
    open: usize,
}

/// Where a line was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Output,
    Error,
}

impl Log {
    fn new(name: &str) -> Arc<Log> {
        let state = Mutex::new(Printed { lines: Vec::new(), open: 2 });
        Arc::new(Log { name: name.to_owned(), state, changed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Printed> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(self: &Arc<Log>, stream: Stream, source: impl Read + Send + 'static) {
        let log = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                log.lock().lines.push((stream, line));
                log.changed.notify_all();
            }
            log.lock().open -= 1;
            log.changed.notify_all();
        });
    }

    /// The lines of one stream.
    pub fn lines(&self, stream: Stream) -> Vec<String> {
        let of_stream = |(from, line): &(Stream, String)| (*from == stream).then(|| line.clone());
        self.lock().lines.iter().filter_map(of_stream).collect()
    }

    /// Waits for a line that begins with `start`, and returns it.
    pub fn wait_for(&self, stream: Stream, start: &str) -> String {
        self.wait_for_line(stream, start, |line| line.starts_with(start))
    }

    /// Waits for a line that holds `part`, and returns it.
    pub fn wait_for_part(&self, stream: Stream, part: &str) -> String {
        self.wait_for_line(stream, part, |line| line.contains(part))
    }

    fn wait_for_line(&self, stream: Stream, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut printed = self.lock();
        loop {
            let wanted = |(from, line): &&(Stream, String)| *from == stream && fits(line);
            if let Some((_, line)) = printed.lines.iter().find(wanted) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if printed.open == 0 || left.is_zero() {
                drop(printed);
                panic!("{} never printed a line with `{what}`\n{self}", self.name);
            }
            printed = self.wait(printed, left);
        }
    }

    /// Waits until both streams have ended, as they do with the program.
    fn wait_for_end(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut printed = self.lock();
        while printed.open > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(printed);
                panic!("{} does not end\n{self}", self.name);
            }
            printed = self.wait(printed, left);
        }
    }

    fn wait<'a>(
        &self,
        printed: MutexGuard<'a, Printed>,
        left: Duration,
    ) -> MutexGuard<'a, Printed> {
        self.changed.wait_timeout(printed, left).unwrap_or_else(PoisonError::into_inner).0
    }
}

impl std::fmt::Display for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (stream, line) in &self.lock().lines {
            let mark = if *stream == Stream::Error { "!" } else { " " };
            writeln!(f, "{:>8}{mark} {line}", self.name)?;
        }
        Ok(())
    }
}

/// A running program; killed when it is dropped.
pub struct Process {
    child: Child,
    pub log: Arc<Log>,
}

/// How a program ended.
pub struct Ended {
    /// The exit status, if no signal ended it.
    pub status: Option<i32>,
    pub output: Vec<String>,
    pub errors: Vec<String>,
}

impl Process {
    /// Starts a program in a node's network namespace.
    pub fn start(node: &str, name: &str, command: &mut Command) -> Process {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = inside(node, || command.spawn().unwrap_or_else(|e| panic!("{name}: {e}")));
        let log = Log::new(name);
        log.follow(Stream::Output, child.stdout.take().expect("it is piped"));
        log.follow(Stream::Error, child.stderr.take().expect("it is piped"));
        Process { child, log }
    }

    /// Waits for the end.
    pub fn finish(mut self) -> Ended {
        self.log.wait_for_end();
        let status = self.child.wait().expect("it is our child").code();
        let (output, errors) = (self.log.lines(Stream::Output), self.log.lines(Stream::Error));
        Ended { status, output, errors }
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it runs");
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Repeats `probe` until it has an answer. It paces itself, as it runs a program each time.
pub fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "in {PATIENCE:?} never: {what}");
    }
}
