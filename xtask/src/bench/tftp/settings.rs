//! What is measured: how many clients, which file, in which blocks and windows, on how bad a network.

use std::fmt;

use clap::ValueEnum;

use super::files::Size;

/// One combination.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Setting {
    pub(super) clients: u32,
    pub(super) file: Size,
    pub(super) blksize: u16,
    pub(super) window: u16,
    /// The share of datagrams that is lost in each direction, and the share that is overtaken, in percent.
    pub(super) loss: f64,
}

/// RFC 1350's own, iPXE's, and what fits Ethernet.
const BLKSIZES: [u16; 3] = [512, 1432, 1468];
const WINDOWS: [u16; 4] = [1, 4, 8, 16];

/// A question, and the settings that answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
    /// As fast as it goes: 1, 100 and 1,000 clients.
    Rates,
    /// Block sizes and windows.
    Sizes,
    /// Five thousand clients.
    Crowd,
    /// Loss and reordering.
    Loss,
    /// Each combination.
    All,
}

/// Settings by hand: those of the parts that are like this, or, without a part, each combination of them.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Filter {
    /// How many at once [default: 1, 100, 1000 and 5000].
    #[arg(long, value_delimiter = ',', value_name = "N,…", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) clients: Vec<u32>,
    #[arg(long, value_delimiter = ',', value_name = "FILE,…")]
    pub(super) file: Vec<Size>,
    /// [default: 512, 1432 and 1468]
    #[arg(long, value_delimiter = ',', value_name = "BYTES,…", value_parser = clap::value_parser!(u16).range(8..=1468))]
    pub(super) blksize: Vec<u16>,
    /// [default: 1, 4, 8 and 16]
    #[arg(long, value_delimiter = ',', value_name = "BLOCKS,…", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) window: Vec<u16>,
    /// In percent, of loss and of reordering each [default: 0, 1 and 10]
    #[arg(long, value_delimiter = ',', value_name = "PERCENT,…")]
    pub(super) loss: Vec<f64>,
}

impl Part {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Rates => "rates",
            Self::Sizes => "sizes",
            Self::Crowd => "crowd",
            Self::Loss => "loss",
            Self::All => "all",
        }
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Rates => "as fast as it goes",
            Self::Sizes => "block sizes and windows",
            Self::Crowd => "five thousand clients",
            Self::Loss => "loss and reordering",
            Self::All => "each combination",
        }
    }

    fn settings(self) -> Vec<Setting> {
        use Size::{Large, Small};
        // What firmware asks for: blocks of iPXE, which asks for no windows, and OVMF's window.
        let setting = |clients, file, window| Setting { clients, file, blksize: 1432, window, loss: 0.0 };
        match self {
            Self::Rates => {
                let one = [setting(1, Small, 1), setting(1, Large, 1), setting(1, Large, 16)];
                let many = [100, 1000]
                    .iter()
                    .flat_map(|clients| [1, 16].map(|window| setting(*clients, Large, window)));
                one.into_iter().chain(many).collect()
            }
            Self::Sizes => combinations(&[100], &[Large], &BLKSIZES, &WINDOWS, &[0.0]),
            Self::Crowd => vec![setting(5000, Small, 1), setting(5000, Large, 1), setting(5000, Large, 4)],
            Self::Loss => combinations(&[100], &[Small], &[1432], &[1, 16], &[1.0, 10.0]),
            Self::All => Filter::default().each(),
        }
    }
}

/// The parts that were asked for and their settings that pass; all parts if nothing was asked for.
pub(super) fn plan(parts: &[Part], filter: &Filter) -> Vec<(Part, Vec<Setting>)> {
    let usual = [Part::Rates, Part::Sizes, Part::Crowd, Part::Loss];
    if parts.is_empty() && !filter.is_empty() {
        return vec![(Part::All, filter.chosen())];
    }
    let parts = if parts.is_empty() { usual.to_vec() } else { parts.to_vec() };
    let mut planned: Vec<Setting> = Vec::new();
    let mut passing = |part: Part| {
        // What one part has, the next need not measure again.
        let new = |setting: &Setting| filter.passes(setting) && !planned.contains(setting);
        let settings: Vec<_> = part.settings().into_iter().filter(new).collect();
        planned.extend(&settings);
        (part, settings)
    };
    let plan: Vec<_> = parts.into_iter().map(&mut passing).collect();
    plan.into_iter().filter(|(_, settings)| !settings.is_empty()).collect()
}

impl Filter {
    fn is_empty(&self) -> bool {
        self.clients.is_empty()
            && self.file.is_empty()
            && self.blksize.is_empty()
            && self.window.is_empty()
            && self.loss.is_empty()
    }

    fn passes(&self, setting: &Setting) -> bool {
        allows(&self.clients, &setting.clients)
            && allows(&self.file, &setting.file)
            && allows(&self.blksize, &setting.blksize)
            && allows(&self.window, &setting.window)
            && allows(&self.loss, &setting.loss)
    }

    /// Each combination of what is named, with the usual where nothing is.
    fn chosen(&self) -> Vec<Setting> {
        combinations(
            or(&self.clients, &[100]),
            or(&self.file, &[Size::Large]),
            or(&self.blksize, &[1432]),
            or(&self.window, &[1]),
            or(&self.loss, &[0.0]),
        )
    }

    /// Each combination that there is.
    fn each(&self) -> Vec<Setting> {
        combinations(&[1, 100, 1000, 5000], Size::value_variants(), &BLKSIZES, &WINDOWS, &[0.0, 1.0, 10.0])
    }
}

fn allows<T: PartialEq>(named: &[T], value: &T) -> bool {
    named.is_empty() || named.contains(value)
}

fn or<'a, T>(named: &'a [T], usual: &'a [T]) -> &'a [T] {
    if named.is_empty() { usual } else { named }
}

fn combinations(
    clients: &[u32],
    files: &[Size],
    blksizes: &[u16],
    windows: &[u16],
    losses: &[f64],
) -> Vec<Setting> {
    let mut settings = Vec::new();
    for &loss in losses {
        for &clients in clients {
            for &file in files {
                for &blksize in blksizes {
                    let with = |&window| Setting { clients, file, blksize, window, loss };
                    settings.extend(windows.iter().map(with));
                }
            }
        }
    }
    settings
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clients, file, blksize, window, loss } = self;
        let (file, s) = (file.name(), if *clients == 1 { "" } else { "s" });
        write!(f, "{clients} client{s}, {file}, blksize {blksize}, windowsize {window}")?;
        if *loss > 0.0 {
            write!(f, ", {loss} % lost and {loss} % overtaken each way")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_has_its_setting() {
        let all: Vec<Setting> =
            plan(&[], &Filter::default()).into_iter().flat_map(|(_, some)| some).collect();
        for (clients, file, window, loss) in [
            (1, Size::Small, 1, 0.0),
            (100, Size::Large, 1, 0.0),
            (100, Size::Large, 8, 0.0),
            (100, Size::Large, 16, 0.0),
            (1000, Size::Large, 1, 0.0),
            (1000, Size::Large, 16, 0.0),
            (5000, Size::Small, 1, 0.0),
            (5000, Size::Large, 1, 0.0),
            (100, Size::Small, 1, 10.0),
        ] {
            let want = Setting { clients, file, blksize: 1432, window, loss };
            assert!(all.contains(&want), "{want}");
        }
        assert_eq!(Part::All.settings().len(), 4 * 2 * 3 * 4 * 3);
        let twice = all.iter().enumerate().find(|(at, setting)| all[..*at].contains(setting));
        assert_eq!(twice, None);
    }

    #[test]
    fn a_filter_narrows_parts_and_chooses_without_them() {
        let filter = Filter { clients: vec![7], window: vec![1, 16], ..Filter::default() };
        let chosen = plan(&[], &filter);
        assert_eq!(chosen.len(), 1);
        let names: Vec<_> = chosen[0].1.iter().map(Setting::to_string).collect();
        let of = |window| format!("7 clients, 1 MiB, blksize 1432, windowsize {window}");
        assert_eq!(names, [of(1), of(16)]);
        assert_eq!(plan(&[Part::Crowd], &filter), []);
        let filter = Filter { file: vec![Size::Small], ..Filter::default() };
        assert_eq!(plan(&[Part::Crowd], &filter)[0].1.len(), 1);
    }
}
