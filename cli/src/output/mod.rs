//! What a command says: results to standard output, problems to standard error.
//!
//! Commands build their text with pure functions ([`columns`], or their own) and hand it here. Nothing here knows what
//! the text means. A reader that has gone away (`usher catalog services | head -1`) is told by [`io::ErrorKind::BrokenPipe`].

pub mod columns;

use std::io::{self, Write};

/// The two streams of a command.
pub struct Output {
    results: Box<dyn Write + Send>,
    problems: Box<dyn Write + Send>,
}

impl Output {
    /// The process's own streams.
    pub fn stdio() -> Self {
        Self { results: Box::new(io::stdout()), problems: Box::new(io::stderr()) }
    }

    /// Other streams, such as buffers.
    pub fn new(results: impl Write + Send + 'static, problems: impl Write + Send + 'static) -> Self {
        Self { results: Box::new(results), problems: Box::new(problems) }
    }

    /// Writes one line of a result, or several that are joined by newlines.
    pub fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        writeln!(self.results, "{}", text.as_ref())?;
        self.results.flush()
    }

    /// Writes bytes of a result as they are, at once.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.results.write_all(bytes)?;
        self.results.flush()
    }

    /// Tells a problem. That nobody reads it is no further problem.
    pub fn problem(&mut self, text: impl AsRef<str>) {
        let _ = writeln!(self.problems, "{}", text.as_ref());
    }
}

/// Brings a text to one line: the blanks around every line break become one space.
pub fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_lines() {
        let table = [
            ("one", "one"),
            ("one\n", "one"),
            ("1 error occurred:\n\t* Failed:  x\n\n", "1 error occurred: * Failed:  x"),
            ("\n\r\n", ""),
        ];
        for (text, expected) in table {
            assert_eq!(one_line(text), expected);
        }
    }
}
