//! A machine's architecture, as APIs and scripts name it.

use netboot_common::class::Class;

/// What a kernel is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cpu {
    /// BIOS machines count as these: whether they have 64 bits, their firmware does not say.
    I386,
    X86_64,
    Arm32,
    Arm64,
}

impl Cpu {
    const ALL: [Self; 4] = [Self::I386, Self::X86_64, Self::Arm32, Self::Arm64];

    /// As iPXE's `${buildarch}` has it, and as we tell APIs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::I386 => "i386",
            Self::X86_64 => "x86_64",
            Self::Arm32 => "arm32",
            Self::Arm64 => "arm64",
        }
    }

    /// By iPXE's name, or by Pixiecore's number (PX-24: 0 is IA32, 1 is X64).
    pub fn from_text(text: &str) -> Option<Self> {
        match text {
            "0" => Some(Self::I386),
            "1" => Some(Self::X86_64),
            name => Self::ALL.into_iter().find(|cpu| cpu.name() == name),
        }
    }

    /// Of a DHCP client; `None`: it does not say.
    pub const fn of(class: Class) -> Option<Self> {
        match class {
            Class::Bios | Class::IpxeBios | Class::EfiIa32 | Class::IpxeEfiIa32 | Class::EfiIa32Http => {
                Some(Self::I386)
            }
            Class::EfiX64 | Class::IpxeEfiX64 | Class::EfiX64Http => Some(Self::X86_64),
            Class::EfiArm64 | Class::IpxeEfiArm64 | Class::EfiArm64Http => Some(Self::Arm64),
            Class::NetbootIpxe | Class::Plain | Class::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn px_24_numbers_and_ipxe_s_names() {
        for (text, want) in [
            ("0", Some(Cpu::I386)),
            ("1", Some(Cpu::X86_64)),
            ("i386", Some(Cpu::I386)),
            ("arm64", Some(Cpu::Arm64)),
            ("2", None),
            ("", None),
            ("X86_64", None),
        ] {
            assert_eq!(Cpu::from_text(text), want, "{text:?}");
        }
    }

    #[test]
    fn every_class_that_boots_and_says_what_it_is_has_an_architecture() {
        for class in Class::ALL {
            let says = class.boots() && class != Class::NetbootIpxe;
            assert_eq!(Cpu::of(class).is_some(), says, "{class}");
        }
    }
}
