package probe

import (
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

const eximConf = `primary_hostname = mx.probe.test
spool_directory = DIR
log_file_path = DIR/%slog
log_selector = -all
local_interfaces = <; PLAIN ; SMTPS
tls_on_connect_ports = TLSPORT
tls_advertise_hosts = *
tls_certificate = CERT
tls_privatekey = KEY
keep_environment =
host_lookup =
rfc1413_hosts =
smtp_banner = ${if eq{$received_port}{TLSPORT}{mx ESMTP}{mx\nESMTP of two lines}}
`

// Exim greets with two lines, which keepalived's check would not take.
func TestExim(t *testing.T) {
	d := newDaemon(t)
	plain, smtps := freePort(t), freePort(t)
	cert, key := pemFiles(t, certificate(t, time.Now().Add(time.Hour)))
	path := d.file("exim.conf", strings.NewReplacer("PLAIN", dotted(plain.String()), "SMTPS", dotted(smtps.String()),
		"TLSPORT", port(smtps), "CERT", cert, "KEY", key).Replace(eximConf))
	d.own("Debian-exim")
	d.run(nil, "chown", "root", path)
	d.start(nil, "exim4", "-bdf", "-C", path)
	smtp := func(p conf.Probe, mode conf.TLSMode) conf.Probe { p.Type, p.TLS.Mode = conf.ProbeSMTP, mode; return p }
	d.live([]asked{
		{"smtp", smtp(conf.Probe{}, conf.TLSOff), plain, ""},
		{"HELO name", smtp(conf.Probe{Host: "director.probe.test"}, conf.TLSOff), plain, ""},
		{"STARTTLS", smtp(conf.Probe{TLS: conf.TLS{Verify: true, CA: cert, Name: "probe.test"}}, conf.TLSStartTLS), plain, ""},
		{"smtps", smtp(conf.Probe{}, conf.TLSOn), smtps, ""},
		{"a name it does not take", smtp(conf.Probe{Host: "director_1"}, conf.TLSOff), plain, health.WhyStatus},
		{"plain where TLS is", conf.Probe{Type: conf.ProbeFTP, TLS: conf.TLS{Mode: conf.TLSOn}}, plain, health.WhyTLS},
		{"another name", smtp(conf.Probe{TLS: conf.TLS{Verify: true, CA: cert, Name: "other.test"}}, conf.TLSStartTLS), plain, health.WhyTLS},
		{"not imap", conf.Probe{Type: conf.ProbeIMAP}, plain, health.WhyProtocol},
		{"not pop", conf.Probe{Type: conf.ProbePOP}, plain, health.WhyProtocol},
	}...)
}

// dotted is Exim's way to write an address and a port.
func dotted(at string) string { return strings.Replace(at, ":", ".", 1) }

const dovecotConf = `protocols = imap pop3
base_dir = DIR/run
state_dir = DIR/run
log_path = /dev/stderr
listen = HOST
ssl = yes
ssl_cert = <CERT
ssl_key = <KEY
disable_plaintext_auth = no
auth_failure_delay = 0
first_valid_uid = 1
passdb {
  driver = static
  args = password=se"cr\et
}
userdb {
  driver = static
  args = uid=mail gid=mail home=DIR/home/%u
}
mail_location = maildir:DIR/mail/%u
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service imap-login {
  inet_listener imap {
    port = IMAP
  }
  inet_listener imaps {
    port = TLSI
  }
}
service pop3-login {
  inet_listener pop3 {
    port = POP
  }
  inet_listener pop3s {
    port = TLSP
  }
}
`

func TestDovecot(t *testing.T) {
	d := newDaemon(t)
	imap, imaps, pop, pops := freePort(t), freePort(t), freePort(t), freePort(t)
	cert, key := pemFiles(t, certificate(t, time.Now().Add(time.Hour)))
	d.own("mail")
	d.start(nil, "dovecot", "-F", "-c", d.file("dovecot.conf", strings.NewReplacer("HOST", host.String(), "CERT", cert, "KEY", key,
		"IMAP", port(imap), "TLSI", port(imaps), "POP", port(pop), "TLSP", port(pops)).Replace(dovecotConf)))
	with := func(kind conf.ProbeType, user, password string, mode conf.TLSMode) conf.Probe {
		return conf.Probe{Type: kind, User: user, Password: password, TLS: conf.TLS{Mode: mode, Verify: mode != conf.TLSOff, CA: cert, Name: "probe.test"}}
	}
	const secret = `se"cr\et`
	d.live([]asked{
		{"imap", with(conf.ProbeIMAP, "", "", conf.TLSOff), imap, ""},
		{"imap login", with(conf.ProbeIMAP, "u", secret, conf.TLSOff), imap, ""},
		{"imap STARTTLS", with(conf.ProbeIMAP, "u", secret, conf.TLSStartTLS), imap, ""},
		{"imaps", with(conf.ProbeIMAP, "u", secret, conf.TLSOn), imaps, ""},
		{"pop", with(conf.ProbePOP, "", "", conf.TLSOff), pop, ""},
		{"pop login", with(conf.ProbePOP, "u", secret, conf.TLSOff), pop, ""},
		{"pop STLS", with(conf.ProbePOP, "u", secret, conf.TLSStartTLS), pop, ""},
		{"pops", with(conf.ProbePOP, "", "", conf.TLSOn), pops, ""},
		{"imap password", with(conf.ProbeIMAP, "u", "wrong", conf.TLSOff), imap, health.WhyLogin},
		{"pop password", with(conf.ProbePOP, "u", "wrong", conf.TLSStartTLS), pop, health.WhyLogin},
		{"imap where pop is", with(conf.ProbeIMAP, "", "", conf.TLSOff), pop, health.WhyProtocol},
		{"pop where imap is", with(conf.ProbePOP, "", "", conf.TLSOff), imap, health.WhyProtocol},
	}...)
}
