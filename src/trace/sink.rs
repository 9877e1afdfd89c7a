//! Writes a trace without ever making those wait who tell it: each thread fills a buffer of its own and hands it to one
//! thread that writes. If that one cannot keep up, whole buffers are dropped and their lines counted.

use std::{
    fs::File,
    io::{self, Write as _},
    mem,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use super::{HEADER, Line};

/// A buffer that has this much is handed on.
const BUFFER_BYTES: usize = 64 << 10;
/// The line that fills it fits behind it.
const SPARE_BYTES: usize = 1 << 10;
/// Buffers that may wait to be written: 4 MiB. What comes on top is dropped.
const BUFFERS: usize = 64;

/// A trace that is being written.
#[derive(Debug)]
pub struct Recorder {
    buffers: SyncSender<Message>,
    counts: Arc<Counts>,
    writer: thread::JoinHandle<io::Result<()>>,
}

/// Counts of lines that only grow.
#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    fn summary(&self) -> Summary {
        Summary { written: self.written.load(Relaxed), dropped: self.dropped.load(Relaxed) }
    }
}

#[derive(Debug)]
enum Message {
    Buffer { text: String, lines: u64 },
    End,
}

/// What became of the lines of a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// They are in the file.
    pub written: u64,
    /// The writer could not keep up, or could not write.
    pub dropped: u64,
}

impl Recorder {
    /// Creates the file, or empties it, and begins to write. Beyond `limit_bytes` lines are dropped.
    ///
    /// # Errors
    ///
    /// If the file cannot be written, or no thread be started.
    pub fn create(path: &Path, limit_bytes: u64) -> io::Result<Self> {
        let mut file = File::create(path)?;
        writeln!(file, "{HEADER}")?;
        let (buffers, inbox) = sync_channel(BUFFERS);
        let counts = Arc::new(Counts::default());
        let left = limit_bytes.saturating_sub(HEADER.len() as u64 + 1);
        let counted = Arc::clone(&counts);
        let write = move || write_all(file, &inbox, &counted, left);
        let writer = thread::Builder::new().name("trace".to_owned()).spawn(write)?;
        Ok(Self { buffers, counts, writer })
    }

    /// An end to tell lines to, for one thread.
    pub fn sink(&self) -> Sink {
        let (buffers, counts) = (self.buffers.clone(), Arc::clone(&self.counts));
        Sink { buffers, counts, text: String::new(), lines: 0 }
    }

    /// Writes what has been handed on, and closes the file. Lines that sinks still hold are not among it.
    ///
    /// # Errors
    ///
    /// The first fault of writing, after which all lines were dropped.
    pub fn finish(self) -> io::Result<Summary> {
        // The writer takes messages until this one, so it comes through.
        let _ = self.buffers.send(Message::End);
        let ended = self.writer.join().unwrap_or_else(|_| Err(io::Error::other("the writing thread panicked")));
        ended.map(|()| self.counts.summary())
    }
}

/// After a fault it goes on taking buffers, so that nobody waits for it.
fn write_all(mut file: File, inbox: &Receiver<Message>, counts: &Counts, mut left: u64) -> io::Result<()> {
    let mut result = Ok(());
    while let Ok(Message::Buffer { text, lines }) = inbox.recv() {
        let fits = text.len() as u64 <= left;
        if fits && result.is_ok() {
            result = file.write_all(text.as_bytes());
        }
        // No gap in the file: where it ends, it ends.
        left = if fits { left - text.len() as u64 } else { 0 };
        let count = if fits && result.is_ok() { &counts.written } else { &counts.dropped };
        count.fetch_add(lines, Relaxed);
    }
    result
}

/// One thread's end of a [`Recorder`]. Dropping it hands on what it holds.
#[derive(Debug)]
pub struct Sink {
    buffers: SyncSender<Message>,
    counts: Arc<Counts>,
    text: String,
    lines: u64,
}

impl Sink {
    /// Tells of one request. Never waits.
    pub fn tell(&mut self, line: &Line<'_>) {
        if self.text.is_empty() {
            self.text.reserve_exact(BUFFER_BYTES + SPARE_BYTES);
        }
        line.append_to(&mut self.text);
        self.lines += 1;
        if self.text.len() >= BUFFER_BYTES {
            self.flush();
        }
    }

    /// What has become of the lines of all threads so far.
    pub fn summary(&self) -> Summary {
        self.counts.summary()
    }

    /// Hands on what it holds. Never waits: if the writer has too much already, these lines are dropped.
    pub fn flush(&mut self) {
        let (text, lines) = (mem::take(&mut self.text), mem::take(&mut self.lines));
        if lines > 0 && self.buffers.try_send(Message::Buffer { text, lines }).is_err() {
            self.counts.dropped.fetch_add(lines, Relaxed);
        }
    }
}

/// For another thread: an end of the same trace that holds nothing yet.
impl Clone for Sink {
    fn clone(&self) -> Self {
        let (buffers, counts) = (self.buffers.clone(), Arc::clone(&self.counts));
        Self { buffers, counts, text: String::new(), lines: 0 }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;
    use crate::trace::Outcome;

    fn line(user: u64) -> Line<'static> {
        let at = Duration::from_micros(user);
        Line { at, business: "payment", user, outcome: Outcome::Ok, latency: Duration::ZERO, stands_for: 1 }
    }

    #[test]
    fn every_line_of_every_thread_is_in_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let recorder = Recorder::create(file.path(), u64::MAX).unwrap();
        thread::scope(|scope| {
            for thread in 0..2 {
                let mut sink = recorder.sink();
                scope.spawn(move || (0..1000).for_each(|number| sink.tell(&line(thread * 1000 + number))));
            }
        });
        assert_eq!(recorder.finish().unwrap(), Summary { written: 2000, dropped: 0 });
        let text = fs::read_to_string(file.path()).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some(HEADER));
        let mut users: Vec<_> = lines.map(|text| Line::parse(text).unwrap().user).collect();
        users.sort_unstable();
        assert!(users.into_iter().eq(0..2000));
    }

    #[test]
    fn beyond_its_limit_a_trace_ends_and_the_rest_is_counted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let recorder = Recorder::create(file.path(), 100).unwrap();
        let mut sink = recorder.sink();
        for user in 0..3 {
            sink.tell(&line(user));
            sink.flush();
        }
        drop(sink);
        assert_eq!(recorder.finish().unwrap(), Summary { written: 2, dropped: 1 });
        assert!(fs::metadata(file.path()).unwrap().len() <= 100);
    }

    #[test]
    fn a_writer_that_cannot_keep_up_costs_lines_and_no_time() {
        let (buffers, inbox) = sync_channel(1);
        let counts = Arc::new(Counts::default());
        let mut sink = Sink { buffers, counts: Arc::clone(&counts), text: String::new(), lines: 0 };
        for user in 0..3 {
            sink.tell(&line(user));
            sink.flush();
        }
        assert_eq!(counts.dropped.load(Relaxed), 2);
        assert!(matches!(inbox.recv(), Ok(Message::Buffer { lines: 1, .. })));
    }

    #[test]
    fn a_file_that_cannot_be_created_is_told_at_once() {
        assert!(Recorder::create(Path::new("/no such folder/trace.csv"), u64::MAX).is_err());
    }
}
