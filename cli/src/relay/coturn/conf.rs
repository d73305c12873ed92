//! The form of `turnserver.conf`, by the rules of coturn's own reader: one option a line, under the name of the long flag;
//! blanks, tabs and equals signs between name and value; `#` begins a comment at the beginning of a line only; a value may
//! stand in double quotes.

/// One option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Counted from 1.
    pub(super) number: usize,
    pub(super) name: String,
    /// Empty where there is none.
    pub(super) value: String,
}

/// The options in `text`.
pub(super) fn read(text: &str) -> Vec<Line> {
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
    let options = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    options.map(|(number, line)| option(number, line)).collect()
}

fn option(number: usize, line: &str) -> Line {
    let between = |letter: char| matches!(letter, ' ' | '\t' | '=');
    let (name, value) = line.split_once(between).unwrap_or((line, ""));
    let value = value.trim_start_matches(between);
    let value = match value.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"').unwrap_or(quoted),
        None => value,
    };
    Line { number, name: name.to_owned(), value: value.to_owned() }
}

impl Line {
    /// Whether an option that is on or off is on. Without a value it is.
    pub(super) fn is_on(&self) -> bool {
        let value = self.value.to_ascii_lowercase();
        !(value.starts_with(['0', 'n', 'f']) || value == "off")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Vec<(String, String)> {
        read(text).into_iter().map(|line| (line.name, line.value)).collect()
    }

    #[test]
    fn options_are_read_as_coturn_reads_them() {
        let text = "# comment\n\n  realm=example.org  \nuser = ada:won=der #not a comment\nlt-cred-mech\n\
                    pidfile=\"/run/turn server.pid\" \ncipher-list=\"DEFAULT\nno-cli\t\n min-port   49160\n";
        let expected = [
            ("realm", "example.org"),
            ("user", "ada:won=der #not a comment"),
            ("lt-cred-mech", ""),
            ("pidfile", "/run/turn server.pid"),
            ("cipher-list", "DEFAULT"),
            ("no-cli", ""),
            ("min-port", "49160"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(options(text), expected);
        assert_eq!(read(text)[0].number, 3);
    }

    #[test]
    fn what_is_on_or_off_is_told_in_many_ways() {
        let on = |text: &str| read(text)[0].is_on();
        assert!(["no-tcp", "no-tcp=1", "no-tcp=yes", "no-tcp=on", "no-tcp=true"].into_iter().all(on));
        assert!(!["no-tcp=0", "no-tcp=no", "no-tcp=Off", "no-tcp=false"].into_iter().any(on));
    }
}
