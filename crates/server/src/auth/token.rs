//! Tokens: drawn, shown once, parsed, hashed.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

/// What a token is for; its prefix says it, so that one is never tried as the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// `ut_`: opens the admin API.
    Admin,
    /// `ue_`: enrols one client's key, once.
    Enrolment,
}

impl TokenKind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Admin => "ut",
            Self::Enrolment => "ue",
        }
    }
}

/// The public part of a token, which names it in lists and logs: 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId([u8; 8]);

impl TokenId {
    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl From<[u8; 8]> for TokenId {
    fn from(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }
}

impl FromStr for TokenId {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let mut bytes = [0; 8];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| BadToken)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenId({self})")
    }
}

/// The SHA-256 of a token's secret. Compared in constant time.
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for SecretHash {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl ConstantTimeEq for SecretHash {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for SecretHash {}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(..)")
    }
}

/// Text that is no token of the kind that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no token of the kind that is needed here")]
pub struct BadToken;

/// A whole token. The secret is wiped when it is dropped, and never prints.
pub struct Token {
    kind: TokenKind,
    id: TokenId,
    secret: Zeroizing<[u8; 32]>,
}

impl Token {
    /// A fresh token.
    ///
    /// # Errors
    /// [`getrandom::Error`] if the system has no randomness.
    pub fn draw(kind: TokenKind) -> Result<Self, getrandom::Error> {
        let mut id = [0; 8];
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(&mut id)?;
        getrandom::fill(&mut *secret)?;
        let id = TokenId(id);
        Ok(Self { kind, id, secret })
    }

    /// Reads a token.
    ///
    /// # Errors
    /// [`BadToken`], which does not repeat the text.
    pub fn parse(kind: TokenKind, text: &str) -> Result<Self, BadToken> {
        let mut parts = text.split('_');
        let (Some(prefix), Some(id), Some(digits), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BadToken);
        };
        if prefix != kind.prefix() {
            return Err(BadToken);
        }
        let id = id.parse()?;
        let mut secret = Zeroizing::new([0; 32]);
        hex::decode_to_slice(digits, &mut *secret).map_err(|_| BadToken)?;
        Ok(Self { kind, id, secret })
    }

    /// The public part.
    pub fn id(&self) -> TokenId {
        self.id
    }

    /// What the store keeps of the secret.
    pub fn hash(&self) -> SecretHash {
        SecretHash(Sha256::digest(*self.secret).into())
    }

    /// The token as text, to be shown to its holder once: `ut_<16 digits>_<64 digits>`.
    pub fn reveal(&self) -> Zeroizing<String> {
        let digits = Zeroizing::new(hex::encode(*self.secret));
        let prefix = self.kind.prefix();
        Zeroizing::new(format!("{prefix}_{}_{}", self.id, digits.as_str()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}_{}_..)", self.kind.prefix(), self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_read_back_and_differ() {
        let token = Token::draw(TokenKind::Admin).unwrap();
        let text = token.reveal();
        let back = Token::parse(TokenKind::Admin, &text).unwrap();
        assert_eq!((back.id(), back.hash()), (token.id(), token.hash()));
        assert!(text.starts_with("ut_") && text.len() == 3 + 16 + 1 + 64);
        let other = Token::draw(TokenKind::Admin).unwrap();
        assert!(other.id() != token.id() && other.hash() != token.hash());
    }

    /// Known answer: SHA-256 of 32 zero bytes.
    #[test]
    fn the_hash_is_sha_256_of_the_secret() {
        let text = format!("ue_{}_{}", "01".repeat(8), "00".repeat(32));
        let token = Token::parse(TokenKind::Enrolment, &text).unwrap();
        let expected = "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925";
        assert_eq!(hex::encode(token.hash().as_bytes()), expected);
    }

    #[test]
    fn other_text_is_refused_without_being_repeated() {
        let good = Token::draw(TokenKind::Admin).unwrap().reveal();
        let enrolment = good.replacen("ut", "ue", 1);
        let long = format!("{}_", *good);
        for text in ["", "ut", "ut__", "ut_01_02", &enrolment, &long, &good[1..]] {
            let error = Token::parse(TokenKind::Admin, text).unwrap_err();
            assert!(!error.to_string().contains("01"), "{error}");
        }
    }

    #[test]
    fn the_secret_does_not_print() {
        let token = Token::draw(TokenKind::Admin).unwrap();
        let (printed, text) = (format!("{token:?} {:?}", token.hash()), token.reveal());
        let secret = text.rsplit('_').next().unwrap();
        assert!(!printed.contains(secret), "{printed}");
        let hash = hex::encode(token.hash().as_bytes());
        assert!(!printed.contains(&hash), "{printed}");
    }
}
