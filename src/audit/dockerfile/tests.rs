//! A file without mistakes, and one mistake at a time.

use super::*;

fn failed(text: &str) -> Vec<&'static str> {
    let report = audit(Path::new("Dockerfile"), text);
    report.judgements.iter().filter(|j| matches!(j.verdict, Verdict::Fail(_))).map(|j| j.rule.id).collect()
}

const GOOD: &str = "FROM debian:12.8@sha256:00 AS build\nRUN apt-get update && apt-get install -y --no-install-recommends x=1 && rm -rf /var/lib/apt/lists/*\n\
    FROM build\nCOPY app /app\nENV PORT=80\nHEALTHCHECK CMD [\"/app\", \"health\"]\nWORKDIR /app\nUSER 1000\nCMD [\"/app\"]\n";

/// What is replaced in it, by what, and which rules say so.
const CASES: &[(&str, &str, &str)] = &[
    ("USER 1000", "USER root", "dockerfile-user"),
    ("USER 1000\n", "", "dockerfile-user"),
    ("USER 1000", "ENV U=0\nUSER $U", "dockerfile-user"),
    ("FROM build\n", "FROM build AS last\nUSER 7\nFROM last\n", ""),
    ("USER 1000\n", "FROM build\nHEALTHCHECK CMD [\"x\"]\n", "dockerfile-user"),
    ("FROM debian:12.8@", "ARG V=latest\nFROM debian:${V}@", ""),
    ("FROM build\n", "FROM build\nONBUILD ADD http://x/y /z\n", "dockerfile-add"),
    ("CMD [\"/app\", \"health\"]", "NONE", "dockerfile-healthcheck"),
    ("ENV PORT=80", "COPY <<EOF /c\nSECRET=x\nEOF", "dockerfile-secrets"),
    ("ENV PORT=80", "COPY --chmod=u+s a /a", "dockerfile-setuid"),
    ("ENV PORT=80", "RUN install x && /bin/chmod 06755 /x", "dockerfile-setuid"),
    ("ENV PORT=80", "EXPOSE 20-30", "dockerfile-ssh"),
    ("debian:12.8@sha256:00", "debian@sha256:00", ""),
    ("debian:12.8@sha256:00", "debian:12.8", "dockerfile-digest"),
    ("debian:12.8@sha256:00", "localhost:5000/debian", "dockerfile-tag"),
    ("COPY app", "ADD app", "dockerfile-add"),
    ("COPY app", "COPY .env", "dockerfile-secrets"),
    ("ENV PORT=80", "ENV API_KEY=x", "dockerfile-secrets"),
    ("ENV PORT=80", "ARG NPM_TOKEN", "dockerfile-secrets"),
    ("ENV PORT=80", "RUN echo \"password=x\" >/c", "dockerfile-secrets"),
    ("HEALTHCHECK CMD [\"/app\", \"health\"]\n", "", "dockerfile-healthcheck"),
    (" --no-install-recommends", "", "dockerfile-packages"),
    ("ENV PORT=80", "RUN sudo x", "dockerfile-sudo"),
    ("ENV PORT=80", "RUN curl -s https://x | sh", "dockerfile-curl-pipe"),
    ("ENV PORT=80", "EXPOSE 22/tcp", "dockerfile-ssh"),
    ("ENV PORT=80", "RUN chmod u+s /x", "dockerfile-setuid"),
    ("ENV PORT=80", "COPY --chmod=4755 x /x", "dockerfile-setuid"),
    ("ENV PORT=80", "RUN wget -qO- https://x | sudo -E bash", "dockerfile-curl-pipe+dockerfile-sudo"),
    ("ENV PORT=80", "RUN bash -c \"$(curl -fsSL https://x)\"", "dockerfile-curl-pipe"),
    ("ENV PORT=80", "RUN sh <(wget -O- https://x)", "dockerfile-curl-pipe"),
    ("ENV PORT=80", "RUN curl -L https://x | tar xz -C /opt", ""),
    ("ENV PORT=80", "RUN echo 'curl x | sh; sudo y; sshd'", ""),
    ("ENV PORT=80", "RUN curl -fsSLk https://x -o y", "dockerfile-unverified"),
    ("ENV PORT=80", "RUN wget --no-check-certificate https://x", "dockerfile-unverified"),
    ("ENV PORT=80", "RUN apk add --no-cache --allow-untrusted x", "dockerfile-unverified"),
    ("ENV PORT=80", "ENV NODE_TLS_REJECT_UNAUTHORIZED=0", "dockerfile-unverified"),
    ("ENV PORT=80", "ENV GIT_SSL_NO_VERIFY 1", "dockerfile-unverified"),
    ("ENV PORT=80", "RUN apk add x", "dockerfile-packages"),
    ("ENV PORT=80", "RUN --mount=type=cache,target=/var/cache/apk apk add x", ""),
    ("ENV PORT=80", "RUN apt-get update", "dockerfile-packages"),
    ("ENV PORT=80", "RUN yum install -y x", "dockerfile-packages"),
    ("ENV PORT=80", "RUN dnf install -y x && dnf clean all", ""),
    ("ENV PORT=80", "RUN zypper in x", "dockerfile-packages"),
    ("ENV PORT=80", "RUN pip install x", "dockerfile-packages"),
    ("ENV PORT=80", "RUN pip3 install --no-cache-dir x", ""),
    (" && rm -rf /var/lib/apt/lists/*", "", "dockerfile-packages"),
    ("apt-get update && ", "", "dockerfile-packages"),
    ("ENV PORT=80", "RUN [\"sudo\", \"x\"]", "dockerfile-sudo"),
    ("ENV PORT=80", "RUN git clone https://u:p@h/x", "dockerfile-secrets"),
    ("ENV PORT=80", "RUN git clone https://u:$P@h/x", ""),
    ("ENV PORT=80", "RUN x ghp_0123456789abcdef0123", "dockerfile-secrets"),
    ("ENV PORT=80", "RUN echo 'root:x' | chpasswd", "dockerfile-secrets"),
    ("ENV PORT=80", "RUN echo \"root:$P\" | chpasswd", ""),
    ("ENV PORT=80", "RUN x --token=\"$T\" --password=`cat y` --secret=", ""),
    ("ENV PORT=80", "ENV SECRET_KEY_BASE x", "dockerfile-secrets"),
    ("ENV PORT=80", "LABEL a.password=x", "dockerfile-secrets"),
    ("ENV PORT=80", "COPY [\"a/prod.key\", \"/x\"]", "dockerfile-secrets"),
    ("ENV PORT=80", "COPY --chown=1 id_rsa .netrc /x/", "dockerfile-secrets"),
    ("ENV PORT=80", "COPY .env.production /x", "dockerfile-secrets"),
    ("ENV PORT=80", "COPY .env* /x", "dockerfile-secrets"),
    ("ENV PORT=80", "COPY .env.example credentials.go monkey.key.js /x/", ""),
    ("ENV PORT=80", "RUN install -m 4755 x /y", "dockerfile-setuid"),
    ("ENV PORT=80", "RUN find / -perm /6000 -exec chmod a-s {} + ; chmod 1777 /tmp", ""),
    (
        "ENV PORT=80",
        "RUN apt-get update && apt-get install -y --no-install-recommends openssh-server && rm -rf /var/lib/apt/lists/*",
        "dockerfile-ssh",
    ),
    ("CMD [\"/app\"]", "CMD [\"/usr/sbin/sshd\", \"-D\"]", "dockerfile-ssh"),
    ("CMD [\"/app\"]", "CMD exec /app", ""),
    ("CMD [\"/app\"]", "CMD x\nCMD [\"/app\"]", ""),
    ("CMD [\"/app\"]", "ENTRYPOINT /app", "dockerfile-exec-form"),
    ("USER 1000", "USER \"0:5\"", "dockerfile-user"),
    ("USER 1000", "USER ${U:-0}", "dockerfile-user"),
    ("USER 1000", "ARG U=7\nUSER ${U}:$U", ""),
    ("WORKDIR /app", "WORKDIR app", "dockerfile-workdir"),
    ("WORKDIR /app", "WORKDIR $HOME/app", ""),
    ("CMD [\"/app\"]", "CMD /app", "dockerfile-exec-form"),
];

#[test]
fn a_good_file_passes_and_each_mistake_is_one_finding() {
    assert_eq!(failed(GOOD), Vec::<&str>::new());
    for &(old, new, rule) in CASES {
        assert!(GOOD.contains(old), "{old}");
        let found = failed(&GOOD.replace(old, new));
        let mut want: Vec<&str> = rule.split('+').filter(|r| !r.is_empty()).collect();
        want.sort_by_key(|id| RULES.iter().position(|row| row.about.id == *id));
        let digest =
            if rule == "dockerfile-tag" { vec!["dockerfile-tag", "dockerfile-digest"] } else { want };
        assert_eq!(found, digest, "{new}");
    }
}

#[test]
fn what_the_file_does_not_decide_is_not_passed() {
    let of = |text: &str, id: &str| {
        let report = audit(Path::new("Dockerfile"), text);
        report.judgements.iter().find(|j| j.rule.id == id).unwrap().verdict.clone()
    };
    let unclear = |text: &str, id: &str| matches!(of(text, id), Verdict::CannotTell(_));
    assert!(unclear("ARG U\nFROM a:1\nUSER $U\n", "dockerfile-user"));
    assert!(unclear("FROM ${BASE}\nUSER 1\n", "dockerfile-tag"));
    assert!(unclear("FROM reg/$X@sha256:00\nUSER 1\n", "dockerfile-digest"));
    assert!(unclear("RUN x\n", "dockerfile-user"));
    assert_eq!(of("FROM gcr.io/distroless/static:nonroot\n", "dockerfile-user"), Verdict::Pass);
    assert!(matches!(of("FROM gcr.io/distroless/static:latest\n", "dockerfile-user"), Verdict::Fail(_)));
    let report = audit(Path::new("Dockerfile"), "FROM a:1\nFOO x\nUSER\nUSER 1\n");
    let unknown: Vec<_> = report.unknown.iter().map(|(at, what)| format!("{at} {what}")).collect();
    assert_eq!(unknown, ["Dockerfile:2 FOO x", "Dockerfile:3 USER"]);
}

#[test]
fn values_of_secrets_are_not_shown() {
    let report =
        audit(Path::new("Dockerfile"), "FROM a\nENV API_KEY=hunter2\nRUN echo password=hunter2 >/x\n");
    let texts: Vec<_> = report.findings().iter().map(|f| f.evidence.text.clone()).collect();
    assert!(texts.iter().all(|t| !t.contains("hunter2")), "{texts:?}");
}
