# `@…@` are filled in by the workflow "Release" (docs/RELEASING.md).
class Ferryd < Formula
  desc "Drop a file into a folder, and get a link to it on your file hosts"
  homepage "@HOMEPAGE@"
  url "@SOURCE@"
  sha256 "@SHA256@"
  license any_of: ["MIT", "Apache-2.0"]

  depends_on "rust" => :build

  def install
    system "cargo", "install", *std_cargo_args
    generate_completions_from_executable(bin/"ferryd", "completions")
    (man1/"ferryd.1").write Utils.safe_popen_read(bin/"ferryd", "man")
    doc.install "config.example.toml", "CHANGELOG.md"
  end

  service do
    run [opt_bin/"ferryd", "run"]
    keep_alive crashed: true
    log_path var/"log/ferryd.log"
    error_log_path var/"log/ferryd.log"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/ferryd --version")
    assert_match "equal", shell_output("#{bin}/ferryd demo")
  end
end
