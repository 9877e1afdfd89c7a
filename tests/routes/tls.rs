//! A Redis that speaks TLS and asks for a password.

use std::fs;

use dagor::registry::redis::RedisSettings;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::settings;
use crate::redis::{Durability, Redis, free_port};

const PASSWORD: &str = "open-sesame";

pub(crate) struct Secured {
    pub(crate) redis: Redis,
    pub(crate) authority: String,
    _certificates: TempDir,
}

impl Secured {
    pub(crate) fn start() -> Self {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_certificate = authority.self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(authority, authority_key);
        let server_key = KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&server_key, &issuer).unwrap();

        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let files = [
            ("--tls-ca-cert-file", write("authority.pem", authority_certificate.pem())),
            ("--tls-cert-file", write("server.pem", certificate.pem())),
            ("--tls-key-file", write("server.key", server_key.serialize_pem())),
        ];
        let arguments = || {
            let mut arguments = vec!["--tls-port".to_owned(), free_port().to_string()];
            arguments.extend(["--tls-auth-clients", "no"].map(str::to_owned));
            for (name, file) in &files {
                arguments.extend([(*name).to_owned(), file.clone()]);
            }
            arguments
        };
        let redis = Redis::start_as(Durability::None, Some(PASSWORD), arguments);
        Self { redis, authority: authority_certificate.pem(), _certificates: directory }
    }

    pub(crate) fn url(&self, password: &str) -> String {
        format!("rediss://:{password}@127.0.0.1:{}", self.redis.argument("--tls-port"))
    }

    pub(crate) fn settings(&self) -> RedisSettings {
        let authority = Some(self.authority.clone().into_bytes());
        RedisSettings { authority, ..settings(vec![self.url(PASSWORD)]) }
    }
}
