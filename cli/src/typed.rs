//! Secrets as people type them or pipe them in: what is typed into a terminal is not shown.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure};
use crate::files;
use crate::log::tell;

/// The path that stands for standard input.
pub(crate) const STDIN: &str = "-";
/// The longest password that is read, in bytes.
const MAX_PASSWORD: usize = 4096;

/// The first line of standard input; a terminal is asked for it with `prompt`. No more than `limit` bytes are read.
pub(crate) fn line(prompt: &str, limit: usize) -> Result<Zeroizing<String>, Failure> {
    let stdin = io::stdin();
    let failed = |error| Failure::new(Exit::Other, format!("standard input can't be read: {error}"));
    let mut line = Zeroizing::new(String::with_capacity(limit + 2));
    let mut read = || stdin.lock().take(limit as u64).read_line(&mut line);
    if !stdin.is_terminal() {
        read().map_err(failed)?;
        return Ok(line);
    }
    ask(prompt);
    let read = without_echo(read);
    tell(format_args!(""));
    read.map_err(failed)?;
    Ok(line)
}

/// `whose` password: the first line of the file `path`, of which `-` is standard input; without one, a terminal is
/// asked. `flag` is what names the file.
pub(crate) fn password(path: Option<&Path>, whose: &str, flag: &str) -> Result<Zeroizing<String>, Failure> {
    let prompt = format!("Password of {whose} (it is not shown): ");
    let text = match path {
        Some(path) if path != Path::new(STDIN) => first_line(path, whose)?,
        None if !io::stdin().is_terminal() => {
            return Err(Failure::new(Exit::Usage, format!("the password of {whose} is not known"))
                .next(format!("give {flag} FILE, or {flag} - and the password on standard input")));
        }
        _ => line(&prompt, MAX_PASSWORD)?,
    };
    match text.trim_end_matches(['\n', '\r']) {
        "" => Err(Failure::new(Exit::Usage, format!("the password of {whose} is empty"))),
        password => Ok(Zeroizing::new(password.to_owned())),
    }
}

fn first_line(path: &Path, whose: &str) -> Result<Zeroizing<String>, Failure> {
    let role = format!("the password of {whose}, in");
    let bytes = Zeroizing::new(files::read(path, &role)?);
    if let Some(warning) = files::exposed(path, &format!("the password of {whose}")) {
        tracing::warn!("{warning}");
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Failure::config(format!("{role} {} is no text", path.display())))?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

/// Runs `read` while the terminal on standard input shows nothing of what is typed.
fn without_echo<T>(read: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let stdin = io::stdin();
    let before = tcgetattr(&stdin)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
    let result = read();
    tcsetattr(&stdin, OptionalActions::Flush, &before)?;
    result
}

fn ask(text: &str) {
    let mut out = io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line_with_all_its_spaces() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        std::fs::write(&path, " a b \r\nsecond line").unwrap();
        assert_eq!(*password(Some(&path), "ada", "--file").unwrap(), " a b ");
        std::fs::write(&path, "\n").unwrap();
        assert!(password(Some(&path), "ada", "--file").unwrap_err().what.contains("is empty"));
        let missing = password(Some(&directory.path().join("none")), "ada", "--file").unwrap_err();
        assert!(missing.what.contains("can't be read"), "{missing}");
    }
}
