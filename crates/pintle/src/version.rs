//! What this is, and what it is compatible with.

/// The etcd whose behaviour this is. Clients and tests parse it as a version.
pub(crate) const ETCD: &str = "3.7.1";
/// Our own.
pub(crate) const PINTLE: &str = env!("CARGO_PKG_VERSION");
/// The commit that was built, when the build was told.
pub(crate) const GIT_SHA: &str = match option_env!("PINTLE_GIT_SHA") {
    Some(sha) => sha,
    None => "Not provided",
};
/// Stands where etcd names its Go: readers of the line want four lines, not Go.
pub(crate) const TOOLCHAIN: &str = "none (pintle is written in Rust)";
/// The operating system, by Go's name.
pub(crate) const OS: &str = std::env::consts::OS;
/// The processor, by Go's name.
pub(crate) const ARCH: &str = go_arch(std::env::consts::ARCH);

const fn go_arch(arch: &'static str) -> &'static str {
    match arch.as_bytes() {
        b"x86_64" => "amd64",
        b"aarch64" => "arm64",
        b"powerpc64" => "ppc64le",
        b"x86" => "386",
        _ => arch,
    }
}

/// Whether this is a processor that etcd is tested on, or one that the user vouches for.
pub(crate) fn is_supported(arch: &str, variables: &[(String, String)]) -> bool {
    let vouched =
        |(name, value): &(String, String)| name == "ETCD_UNSUPPORTED_ARCH" && value == arch;
    matches!(arch, "amd64" | "arm64" | "ppc64le" | "s390x") || variables.iter().any(vouched)
}

/// What `--version` prints: etcd's four lines, then ours.
pub(crate) fn text() -> String {
    format!(
        "etcd Version: {ETCD}\nGit SHA: {GIT_SHA}\nGo Version: {TOOLCHAIN}\n\
         Go OS/Arch: {OS}/{ARCH}\npintle Version: {PINTLE}\n"
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn other_processors_need_a_word_of_the_user() {
        let vouched = |arch: &str| vec![("ETCD_UNSUPPORTED_ARCH".to_owned(), arch.to_owned())];
        assert!(super::is_supported("amd64", &[]) && !super::is_supported("riscv64", &[]));
        assert!(super::is_supported("riscv64", &vouched("riscv64")));
        assert!(!super::is_supported("riscv64", &vouched("arm")));
    }

    #[test]
    fn the_first_four_lines_are_etcds() {
        let text = super::text();
        let heads: Vec<_> = text.lines().filter_map(|line| line.split(": ").next()).collect();
        assert_eq!(
            heads,
            ["etcd Version", "Git SHA", "Go Version", "Go OS/Arch", "pintle Version"]
        );
        assert!(text.starts_with("etcd Version: 3.7.1\n"));
        let numbers = super::PINTLE.split('.').filter(|part| part.parse::<u64>().is_ok());
        assert_eq!(numbers.count(), 3);
    }
}
