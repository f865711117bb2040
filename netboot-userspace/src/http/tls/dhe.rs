//! Key exchange on a finite field (RFC 7919), for firmware that has no elliptic curves. Of TLS 1.2 alone, and only where the operator
//! has asked for it: the arithmetic takes longer, and its time is not the same for all secrets, each of which is used once.

use std::sync::LazyLock;

use num_bigint::BigUint;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::crypto::{
    ActiveKeyExchange, CipherSuiteCommon, CryptoProvider, GetRandomFailed, KeyExchangeAlgorithm,
    SharedSecret, SupportedKxGroup,
};
use rustls::ffdhe_groups::{FFDHE2048, FfdheGroup};
use rustls::{
    CipherSuite, Error, NamedGroup, PeerMisbehaved, ProtocolVersion, SupportedCipherSuite, Tls12CipherSuite,
};

/// Bytes of a secret: RFC 7919 section 5.2 wants 225 bits for this group.
const SECRET: usize = 32;

/// Those of curves, and the same with this key exchange.
static SUITES: LazyLock<Vec<Tls12CipherSuite>> = LazyLock::new(|| {
    let pairs = [
        (
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            CipherSuite::TLS_DHE_RSA_WITH_AES_256_GCM_SHA384,
        ),
        (
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            CipherSuite::TLS_DHE_RSA_WITH_AES_128_GCM_SHA256,
        ),
    ];
    let of = |(like, suite)| match like {
        SupportedCipherSuite::Tls12(like) => Some(Tls12CipherSuite {
            common: CipherSuiteCommon { suite, ..like.common },
            kx: KeyExchangeAlgorithm::DHE,
            ..*like
        }),
        SupportedCipherSuite::Tls13(_) => None,
    };
    pairs.into_iter().filter_map(of).collect()
});

/// Adds it to what there is, as the last choice.
pub(super) fn add(provider: &mut CryptoProvider) {
    provider.kx_groups.push(&Field);
    provider.cipher_suites.extend(SUITES.iter().map(SupportedCipherSuite::Tls12));
}

/// `ffdhe2048`.
#[derive(Debug)]
struct Field;

impl SupportedKxGroup for Field {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut secret = [0; SECRET];
        let random = aws_lc_rs::default_provider().secure_random;
        random.fill(&mut secret).map_err(|GetRandomFailed| Error::FailedToGetRandomBytes)?;
        let secret = BigUint::from_bytes_be(&secret);
        let public = padded(&BigUint::from_bytes_be(FFDHE2048.g).modpow(&secret, &prime()));
        Ok(Box::new(Exchange { secret, public }))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        Some(FFDHE2048)
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::FFDHE2048
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_2
    }
}

struct Exchange {
    secret: BigUint,
    public: Vec<u8>,
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, theirs: &[u8]) -> Result<SharedSecret, Error> {
        let (theirs, prime) = (BigUint::from_bytes_be(theirs), prime());
        // RFC 7919 section 5.1: of a safe prime, only these have a small order.
        if theirs <= BigUint::from(1_u8) || theirs >= &prime - 1_u8 {
            return Err(PeerMisbehaved::InvalidKeyShare.into());
        }
        Ok(padded(&theirs.modpow(&self.secret, &prime)).into())
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        Some(FFDHE2048)
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::FFDHE2048
    }
}

fn prime() -> BigUint {
    BigUint::from_bytes_be(FFDHE2048.p)
}

/// As long as the prime.
fn padded(number: &BigUint) -> Vec<u8> {
    let bytes = number.to_bytes_be();
    let mut padded = vec![0; FFDHE2048.p.len().saturating_sub(bytes.len())];
    padded.extend_from_slice(&bytes);
    padded
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_of_a_finite_field_agree() {
        let (ours, theirs) = (Field.start().unwrap(), Field.start().unwrap());
        let (our_share, their_share) = (ours.pub_key().to_vec(), theirs.pub_key().to_vec());
        assert_ne!(our_share, their_share);
        assert_eq!((our_share.len(), their_share.len()), (256, 256));
        let ours = ours.complete(&their_share).unwrap();
        assert_eq!(ours.secret_bytes(), theirs.complete(&our_share).unwrap().secret_bytes());
        assert_eq!(ours.secret_bytes().len(), 256, "whatever it begins with");
    }

    #[test]
    fn rfc7919_5_1_shares_of_small_order_are_refused() {
        let last = &prime() - 1_u8;
        for share in [BigUint::from(0_u8), BigUint::from(1_u8), last.clone(), prime(), prime() + 5_u8] {
            assert!(Field.start().unwrap().complete(&share.to_bytes_be()).is_err(), "{share}");
        }
        for share in [BigUint::from(2_u8), last - 1_u8] {
            assert!(Field.start().unwrap().complete(&share.to_bytes_be()).is_ok(), "{share}");
        }
    }
}
