//! Child processes: what they say is kept, waiting for it has a limit, and they end with the test.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a child may take to say or do what a test waits for; the machines of CI are slow and shared.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A child process with the lines that it has written so far.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    lines: Arc<Lines>,
    readers: [JoinHandle<()>; 2],
    ending: Signal,
}

#[derive(Debug, Default)]
struct Lines {
    written: Mutex<Vec<String>>,
    changed: Condvar,
}

impl Running {
    /// Starts `command` without input.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{name}: cannot run {command:?}: {error}"));
        let lines = Arc::new(Lines::default());
        let readers = [
            collect(child.stdout.take().expect("piped"), &lines),
            collect(child.stderr.take().expect("piped"), &lines),
        ];
        Self { name: name.to_owned(), child, lines, readers, ending: Signal::TERM }
    }

    /// Has it end by `signal` instead of SIGTERM.
    #[must_use]
    pub fn ended_by(mut self, signal: Signal) -> Self {
        self.ending = signal;
        self
    }

    /// Waits for a line, past or to come, that contains `text`, and returns the first.
    ///
    /// # Panics
    /// When none comes in time, or the process ends without one.
    pub fn expect_line(&mut self, text: &str) -> String {
        self.expect_lines(text, 1).remove(0)
    }

    /// Waits until `count` lines that contain `text` were written, and returns them.
    ///
    /// # Panics
    /// When they do not come in time, or the process ends without them.
    pub fn expect_lines(&mut self, text: &str, count: usize) -> Vec<String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let ended = self.wait_for(Duration::ZERO).is_some();
            let found: Vec<_> =
                self.lines.lock().iter().filter(|line| line.contains(text)).cloned().collect();
            if found.len() >= count {
                return found;
            }
            assert!(!ended, "{} ended without saying {text:?}. It said:\n{}", self.name, self.said());
            assert!(Instant::now() < until, "{} did not say {text:?}. It said:\n{}", self.name, self.said());
            self.lines.wait(Duration::from_millis(50));
        }
    }

    /// Everything that it has written to both outputs, in the order of arrival.
    #[must_use]
    pub fn said(&self) -> String {
        self.lines.lock().join("\n")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        // A process that has ended already needs no signal.
        let _ = kill_process(self.pid(), signal);
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn wait(&mut self) -> ExitStatus {
        let status = self.wait_for(PATIENCE);
        status.unwrap_or_else(|| panic!("{} does not end. It said:\n{}", self.name, self.said()))
    }

    fn wait_for(&mut self, patience: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + patience;
        loop {
            match self.child.try_wait().expect("our own child") {
                Some(status) => {
                    self.read_to_the_end();
                    return Some(status);
                }
                None if Instant::now() >= until => return None,
                None => thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// What a process wrote last is read a moment after its end; a pipe that its own children hold does not end.
    fn read_to_the_end(&self) {
        let until = Instant::now() + Duration::from_secs(2);
        while !self.readers.iter().all(JoinHandle::is_finished) && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(self.ending);
        if self.wait_for(Duration::from_secs(5)).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if thread::panicking() {
            eprintln!("── {} said:\n{}", self.name, self.said());
        }
    }
}

/// Runs `command` to its end.
///
/// # Panics
/// When it cannot be started or does not end within `patience`.
#[must_use]
pub fn finish(name: &str, command: Command, patience: Duration) -> Finished {
    let mut running = Running::start(name, command);
    let status = running.wait_for(patience);
    let status = status.unwrap_or_else(|| panic!("{name} does not end. It said:\n{}", running.said()));
    Finished { status, said: running.said() }
}

/// How a process ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it wrote to both outputs.
    pub said: String,
}

impl Finished {
    /// What it said, if it ended well.
    ///
    /// # Panics
    /// When it did not.
    #[must_use]
    pub fn success(self) -> String {
        assert!(self.status.success(), "{}:\n{}", self.status, self.said);
        self.said
    }
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.written.lock().expect("no reader panics")
    }

    fn wait(&self, patience: Duration) {
        let _ = self.changed.wait_timeout(self.lock(), patience).expect("no reader panics");
    }
}

fn collect(pipe: impl Read + Send + 'static, lines: &Arc<Lines>) -> JoinHandle<()> {
    let lines = Arc::clone(lines);
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            lines.lock().push(String::from_utf8_lossy(&line).into_owned());
            lines.changed.notify_all();
        }
    })
}
