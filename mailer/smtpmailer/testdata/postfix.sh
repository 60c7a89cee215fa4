#!/usr/bin/env bash
# Runs the mails of every kind and language through Postfix: STARTTLS, AUTH, queue, mailbox.
#
#   postfix.sh                          installs what is missing, and runs the test
#   postfix.sh install                  installs what is missing
#   postfix.sh start DIR PORT TLS PID   starts a Postfix that lives in DIR alone; see below
#   postfix.sh stop DIR                 stops it
#
# It needs root, as Postfix does, and Debian's apt-get where Postfix is missing. The configuration, the
# queue and the log of the system's own Postfix are neither read nor written. Silence is success.
#
# start expects in DIR, which everybody must be able to enter: chain.pem and key.pem for TLS, and
# password, the password of the user "recovery". PORT wants STARTTLS, TLS is TLS from the first byte;
# both listen on 127.0.0.1 and take mail only after AUTH. All mail goes to the Maildir DIR/mail/inbox,
# but gone@example.com and later@example.com are refused.
# When the process PID has ended and nobody has called stop, Postfix is stopped and DIR removed.
set -euo pipefail

fail() {
  echo "postfix.sh: $*" >&2
  exit 1
}

install_missing() {
  command -v postfix >/dev/null && command -v saslpasswd2 >/dev/null && return
  [ "$(id -u)" = 0 ] || fail "Postfix or saslpasswd2 is missing, and only root can install them"
  command -v apt-get >/dev/null || fail "Postfix or saslpasswd2 is missing, and so is apt-get"
  local log
  log=$(mktemp)
  # Without a configuration of its own, the system's Postfix does not start.
  if ! { echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections &&
    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-remove \
    --no-install-recommends postfix sasl2-bin libsasl2-modules; } >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    fail "the packages could not be installed"
  fi
  rm -f "$log"
}

start() {
  local dir=$1 port=$2 tls=$3 owner=$4
  local conf=$dir/conf
  mkdir -p "$conf/sasl" "$dir/queue" "$dir/data" "$dir/mail"
  chown postfix "$dir/data"
  chown nobody "$dir/mail"

  saslpasswd2 -p -c -f "$conf/sasl/users" -u mta.test recovery <"$dir/password"
  chown postfix "$conf/sasl/users"
  chmod 600 "$conf/sasl/users" "$dir/password" "$dir/key.pem"
  cat >"$conf/sasl/smtpd.conf" <<END
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: $conf/sasl/users
mech_list: SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN
END

  cat >"$conf/main.cf" <<END
compatibility_level = 3.6
queue_directory = $dir/queue
data_directory = $dir/data
maillog_file = $dir/log
maillog_file_prefixes = $dir
syslog_name = recovery-test
alias_maps =
alias_database =
import_environment = MAIL_CONFIG MAIL_LOGTAG TZ
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mta.test
mydestination =
mynetworks =
relay_domains =
smtpd_tls_security_level = encrypt
smtpd_tls_auth_only = yes
smtpd_tls_chain_files = $dir/key.pem, $dir/chain.pem
smtpd_sasl_auth_enable = yes
smtpd_sasl_path = smtpd
cyrus_sasl_config_path = $conf/sasl
smtpd_sasl_local_domain = mta.test
smtpd_sasl_security_options = noanonymous
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = check_recipient_access inline:{
  {gone@example.com = 550 5.1.1 nobody}, {later@example.com = 450 4.2.1 nobody now}}
smtpd_client_connection_rate_limit = 0
default_transport = virtual
virtual_mailbox_base = $dir/mail
virtual_mailbox_maps = static:inbox/
virtual_minimum_uid = 1
virtual_uid_maps = static:$(id -u nobody)
virtual_gid_maps = static:$(id -g nobody)
END

  cat >"$conf/master.cf" <<END
$port     inet n - n - - smtpd
$tls      inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
tlsmgr    unix - - n 1000? 1 tlsmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
verify    unix - - n - 1 verify
flush     unix n - n 1000? 0 flush
proxymap  unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
error     unix - - n - - error
retry     unix - - n - - error
discard   unix - - n - - discard
virtual   unix - n n - - virtual
anvil     unix - - n - 1 anvil
postlog   unix-dgram n - n - 1 postlogd
END

  if ! postfix -c "$conf" start >"$dir/start.log" 2>&1; then
    cat "$dir/start.log" "$dir/log" >&2 || true
    fail "Postfix did not start"
  fi
  touch "$dir/started"
  watch "$dir" "$owner" </dev/null >/dev/null 2>&1 &
}

watch() {
  local dir=$1 owner=$2
  while [ -e "$dir/started" ]; do
    if ! kill -0 "$owner"; then
      stop "$dir" && rm -rf "$dir"
      return
    fi
    sleep 0.5
  done
}

stop() {
  rm -f "$1/started"
  postfix -c "$1/conf" stop >/dev/null 2>&1 || fail "Postfix did not stop"
  for _ in $(seq 100); do
    postfix -c "$1/conf" status >/dev/null 2>&1 || return 0
    sleep 0.05
  done
  fail "Postfix does not end"
}

case ${1-} in
install) install_missing ;;
start)
  [ $# = 5 ] || fail "usage: start DIR PORT TLS PID"
  start "$2" "$3" "$4" "$5"
  ;;
stop)
  [ $# = 2 ] || fail "usage: stop DIR"
  stop "$2"
  ;;
'')
  install_missing
  cd "$(dirname "$0")/../../../internal/systemtest/smtptest"
  out=$(RECOVERY_REQUIRE_ALL=1 go test -count=1 -timeout 100s -run '^TestPostfix' . 2>&1) || {
    printf '%s\n' "$out" >&2
    exit 1
  }
  ;;
*) fail "unknown command $1" ;;
esac
