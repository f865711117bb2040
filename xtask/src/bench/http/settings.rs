//! What is measured: which file, how many connections, and how they ask.

use std::fmt;

use clap::ValueEnum;

use super::files::Size;

/// One combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) file: Size,
    pub(super) connections: u32,
    pub(super) mode: Mode,
}

/// How clients ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    /// One request after the other.
    Keep,
    /// A new connection for each request.
    Fresh,
    /// One range after the other, somewhere in the file: of 1 MiB, or of a quarter of the file.
    Range,
    /// Once, and then they stay connected.
    Idle,
    /// As `keep`, but by wrk: a second opinion.
    Wrk,
    /// As `keep`, and then once more, beside a crowd of which a tenth is slow.
    Beside,
}

/// Who is connected beside those who are measured, and how many of them never come to the end of their request.
pub(super) const CROWD: [u32; 2] = [10_000, 1_000];

impl Mode {
    const fn words(self) -> &'static str {
        match self {
            Self::Keep => "kept alive",
            Self::Fresh => "new for each request",
            Self::Range => "ranges",
            Self::Idle => "idle",
            Self::Wrk => "kept alive, by wrk",
            Self::Beside => "kept alive, beside ten thousand of which a thousand are slow",
        }
    }
}

/// A question, and the settings that answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
    /// 4 KiB and 64 KiB: requests.
    Small,
    /// 64 MiB and 1 GiB: bytes.
    Large,
    /// Ten thousand connections.
    Crowd,
    /// What an idle connection takes.
    Idle,
    /// A new connection for each request.
    Fresh,
    /// Ranges.
    Ranges,
    /// What wrk says of small files.
    Wrk,
    /// What slow clients take from the fast ones.
    Slow,
}

/// Settings by hand: those of the parts that are like this, or, without a part, each combination of them.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Filter {
    #[arg(long, value_delimiter = ',', value_name = "FILE,…")]
    pub(super) file: Vec<Size>,
    /// How many at once [default: 1, 100, 1000 and 10000]
    #[arg(long, value_delimiter = ',', value_name = "N,…", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(super) connections: Vec<u32>,
    /// How clients ask.
    #[arg(long, value_delimiter = ',', value_name = "MODE,…")]
    pub(super) mode: Vec<Mode>,
}

impl Part {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
            Self::Crowd => "crowd",
            Self::Idle => "idle",
            Self::Fresh => "fresh",
            Self::Ranges => "ranges",
            Self::Wrk => "wrk",
            Self::Slow => "slow",
        }
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Small => "small files",
            Self::Large => "large files",
            Self::Crowd => "ten thousand connections",
            Self::Idle => "idle connections",
            Self::Fresh => "a new connection for each request",
            Self::Ranges => "ranges",
            Self::Wrk => "small files, by wrk",
            Self::Slow => "beside slow clients",
        }
    }

    fn settings(self) -> Vec<Setting> {
        use Size::{Huge, Large, Small, Tiny};
        match self {
            Self::Small => combinations(&[Tiny, Small], &[1, 100, 1_000], &[Mode::Keep]),
            Self::Large => combinations(&[Large, Huge], &[1, 100, 1_000], &[Mode::Keep]),
            Self::Crowd => combinations(&[Tiny, Small, Large], &[10_000], &[Mode::Keep]),
            Self::Idle => combinations(&[Tiny], &[10_000], &[Mode::Idle]),
            Self::Fresh => combinations(&[Tiny, Small], &[1, 100, 1_000], &[Mode::Fresh]),
            Self::Ranges => combinations(&[Large, Huge], &[1, 100], &[Mode::Range]),
            // All of them have one address, which has 512 connections here at most.
            Self::Wrk => combinations(&[Tiny], &[100, 500], &[Mode::Wrk]),
            Self::Slow => combinations(&[Tiny], &[100], &[Mode::Beside]),
        }
    }
}

/// The parts that were asked for and their settings that pass; all parts if nothing was asked for.
pub(super) fn plan(parts: &[Part], filter: &Filter) -> Vec<(&'static str, &'static str, Vec<Setting>)> {
    if parts.is_empty() && !filter.is_empty() {
        return vec![("chosen", "as you chose", filter.chosen())];
    }
    let parts = if parts.is_empty() { Part::value_variants() } else { parts };
    let passing =
        |part: &Part| part.settings().into_iter().filter(|setting| filter.passes(setting)).collect();
    let plan = parts.iter().map(|part| (part.name(), part.title(), passing(part)));
    plan.filter(|(_, _, settings): &(_, _, Vec<_>)| !settings.is_empty()).collect()
}

impl Filter {
    fn is_empty(&self) -> bool {
        self.file.is_empty() && self.connections.is_empty() && self.mode.is_empty()
    }

    fn passes(&self, setting: &Setting) -> bool {
        allows(&self.file, &setting.file)
            && allows(&self.connections, &setting.connections)
            && allows(&self.mode, &setting.mode)
    }

    /// Each combination of what is named, with the usual where nothing is.
    fn chosen(&self) -> Vec<Setting> {
        combinations(
            or(&self.file, &[Size::Tiny]),
            or(&self.connections, &[100]),
            or(&self.mode, &[Mode::Keep]),
        )
    }
}

fn allows<T: PartialEq>(named: &[T], value: &T) -> bool {
    named.is_empty() || named.contains(value)
}

fn or<'a, T>(named: &'a [T], usual: &'a [T]) -> &'a [T] {
    if named.is_empty() { usual } else { named }
}

fn combinations(files: &[Size], connections: &[u32], modes: &[Mode]) -> Vec<Setting> {
    let mut settings = Vec::new();
    for &mode in modes {
        for &file in files {
            settings.extend(connections.iter().map(|&connections| Setting { file, connections, mode }));
        }
    }
    settings
}

impl Setting {
    /// How long the ranges are that it asks for.
    pub(super) fn range(&self) -> Option<u64> {
        (self.mode == Mode::Range).then(|| (self.file.bytes() / 4).min(1 << 20))
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, connections, mode } = self;
        let s = if *connections == 1 { "" } else { "s" };
        write!(f, "{}, {connections} connection{s}, {}", file.name(), mode.words())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_of_http_has_its_setting() {
        let all: Vec<Setting> =
            plan(&[], &Filter::default()).into_iter().flat_map(|(_, _, some)| some).collect();
        for (file, connections, mode) in [
            (Size::Tiny, 1, Mode::Keep),
            (Size::Tiny, 100, Mode::Keep),
            (Size::Tiny, 1_000, Mode::Keep),
            (Size::Tiny, 10_000, Mode::Keep),
            (Size::Large, 1, Mode::Keep),
            (Size::Large, 1_000, Mode::Keep),
            (Size::Large, 10_000, Mode::Keep),
            (Size::Huge, 1, Mode::Keep),
            (Size::Huge, 1_000, Mode::Keep),
            (Size::Tiny, 10_000, Mode::Idle),
            (Size::Tiny, 100, Mode::Fresh),
            (Size::Large, 100, Mode::Range),
            (Size::Tiny, 100, Mode::Wrk),
            (Size::Tiny, 100, Mode::Beside),
        ] {
            let want = Setting { file, connections, mode };
            assert!(all.contains(&want), "{want}");
        }
        let twice = all.iter().enumerate().find(|(at, setting)| all[..*at].contains(setting));
        assert_eq!(twice, None);
    }

    #[test]
    fn a_filter_of_http_narrows_parts_and_chooses_without_them() {
        let filter =
            Filter { connections: vec![7], mode: vec![Mode::Keep, Mode::Range], ..Filter::default() };
        let chosen = plan(&[], &filter);
        let names: Vec<_> = chosen[0].2.iter().map(Setting::to_string).collect();
        assert_eq!(names, ["4 KiB, 7 connections, kept alive", "4 KiB, 7 connections, ranges"]);
        assert_eq!(plan(&[Part::Crowd], &filter), []);
        let filter = Filter { file: vec![Size::Large], ..Filter::default() };
        assert_eq!(plan(&[Part::Crowd], &filter)[0].2.len(), 1);
    }

    #[test]
    fn ranges_are_shorter_than_their_file() {
        for file in Size::value_variants() {
            let of = |mode| Setting { file: *file, connections: 1, mode }.range();
            assert!(of(Mode::Range).is_some_and(|length| length > 0 && length < file.bytes()));
            assert_eq!(of(Mode::Keep), None);
        }
    }
}
