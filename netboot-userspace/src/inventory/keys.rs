//! Public keys of SSH, a line each, as `authorized_keys` has them (sshd(8)). Pure.

use crate::pixiecore::base64;

/// One line: options, if any, then the type, the key and a comment.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn public_key(text: &str) -> Result<String, String> {
    let line = text.trim();
    if line.contains("PRIVATE KEY") {
        return Err("is a private key: give the public one, which `ssh-keygen -y` prints".to_owned());
    }
    // sshd(8) has its fields apart by spaces or tabs.
    if line.chars().any(|c| c.is_control() && c != '\t') {
        return Err("is more than one line: write a list, one public key each".to_owned());
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    if words.windows(2).any(|pair| is_key(pair[0], pair[1])) {
        return Ok(line.to_owned());
    }
    let start: String = line.chars().take(24).collect();
    Err(format!(
        "{start:?} … is no public key: write the line of a .pub file, as in `ssh-ed25519 AAAA… me@desk`"
    ))
}

/// Whether `key` is of the type that stands before it: it begins with its type, behind its length (RFC 4253 section 6.6).
fn is_key(kind: &str, key: &str) -> bool {
    let known = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-sha2-"];
    let Some(bytes) = decoded(key).filter(|_| known.iter().any(|prefix| kind.starts_with(prefix))) else {
        return false;
    };
    let length = bytes.first_chunk().map(|length| u32::from_be_bytes(*length) as usize);
    let rest = bytes.get(4..).unwrap_or_default();
    length == Some(kind.len()) && rest.starts_with(kind.as_bytes()) && rest.len() > kind.len()
}

/// Base64 (RFC 4648 section 4): whole groups, and of its alphabets this one.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let is_whole = text.len().is_multiple_of(4) && !text.ends_with("===") && !text.contains(['-', '_']);
    base64::read(text).filter(|_| is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIK0wmN/Cr3JXqmLW7u+g9pTh+wyqDHpSQEIQczXkVx9q";

    #[test]
    fn a_public_key_is_one_line_of_the_type_that_it_says() {
        let right = [
            format!("ssh-ed25519 {KEY} me@desk"),
            format!("  ssh-ed25519 {KEY}\n"),
            format!("ssh-ed25519\t{KEY}\tme@desk"),
            format!("from=\"10.0.0.0/8\",command=\"do it\" ssh-ed25519 {KEY} with a comment"),
        ];
        for line in right {
            assert_eq!(public_key(&line), Ok(line.trim().to_owned()));
        }
        let wrong = [
            (String::new(), "is no public key"),
            ("default".to_owned(), "is no public key"),
            (format!("ssh-rsa {KEY}"), "is no public key"),
            (format!("ssh-ed25519 {}", &KEY[..66]), "is no public key"),
            (format!("ssh-ed25519 {}", &KEY[..20]), "is no public key"),
            (format!("ssh-ed25519 ={KEY}"), "is no public key"),
            (format!("ssh-ed25519 {KEY}\nssh-ed25519 {KEY}"), "more than one line"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----".to_owned(), "is a private key"),
        ];
        for (line, want) in wrong {
            let fault = public_key(&line).unwrap_err();
            assert!(fault.contains(want), "{line}: {fault}");
        }
    }
}
