package probe

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

func TestDnsmasq(t *testing.T) {
	d := newDaemon(t)
	at := freePort(t)
	argv := []string{"dnsmasq", "-k", "-C", "/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--pid-file=" + d.dir + "/pid",
		"--bind-interfaces", "--listen-address=" + host.String(), "--port=" + port(at), "--local=/probe.test/",
		"--host-record=www.probe.test,192.0.2.7,2001:db8::7", "--cname=alias.probe.test,www.probe.test",
		"--mx-host=probe.test,mail.probe.test,10", "--srv-host=_sip._udp.probe.test,www.probe.test,5060,1,2",
		"--txt-record=probe.test,one two,three", "--ptr-record=7.2.0.192.in-addr.arpa,www.probe.test",
		"--caa-record=probe.test,0,issue,ca.test", "--dns-rr=probe.test,65280,0a0b"}
	for i := range 20 { // more than fits a datagram without EDNS
		argv = append(argv, fmt.Sprintf("--txt-record=long.probe.test,%d %s", i, strings.Repeat("x", 100)))
	}
	d.start(nil, argv...)
	q := func(name, record, answer, transport string) conf.Probe {
		return conf.Probe{Type: conf.ProbeDNS, Name: name, Record: record, Answer: answer, Transport: transport}
	}
	d.live([]asked{
		{"A", q("www.probe.test", "A", `^192\.0\.2\.7$`, ""), at, ""},
		{"with the dot", q("www.probe.test.", "a", `^192\.0\.2\.7$`, "udp"), at, ""},
		{"TCP", q("WWW.probe.test", "A", `^192\.0\.2\.7$`, "tcp"), at, ""},
		{"AAAA", q("www.probe.test", "AAAA", `^2001:db8::7$`, ""), at, ""},
		{"CNAME", q("alias.probe.test", "A", `^www\.probe\.test\.$`, ""), at, ""},
		{"by CNAME", q("alias.probe.test", "A", `^192\.0\.2\.7$`, ""), at, ""},
		{"MX", q("probe.test", "MX", `^10 mail\.probe\.test\.$`, ""), at, ""},
		{"SRV", q("_sip._udp.probe.test", "SRV", `^1 2 5060 www\.probe\.test\.$`, ""), at, ""},
		{"TXT", q("probe.test", "TXT", `^one twothree$`, ""), at, ""},
		{"PTR", q("7.2.0.192.in-addr.arpa", "PTR", `^www\.probe\.test\.$`, ""), at, ""},
		{"CAA", q("probe.test", "CAA", `^\\# 14 0005697373756563612e74657374$`, ""), at, ""},
		{"by number", q("probe.test", "TYPE65280", `^\\# 2 0a0b$`, ""), at, ""},
		{"truncated", q("long.probe.test", "TXT", `^19 x`, ""), at, ""},
		{"no records", q("www.probe.test", "MX", "", ""), at, ""},
		{"no records, one wanted", q("www.probe.test", "MX", ".", ""), at, health.WhyContent},
		{"another answer", q("www.probe.test", "A", `^192\.0\.2\.8$`, ""), at, health.WhyContent},
		{"NXDOMAIN", q("none.probe.test", "A", "", ""), at, health.WhyStatus},
		{"REFUSED", q("", "", "", ""), at, health.WhyStatus},
	}...)
}

const radiusdConf = `name = freeradius
raddbdir = DIR
logdir = DIR
run_dir = DIR
pidfile = DIR/pid
libdir = /usr/lib/freeradius
max_requests = 1024
log {
	destination = stdout
}
security {
	reject_delay = 0
	status_server = yes
}
thread pool {
	start_servers = 1
	max_servers = 2
	min_spare_servers = 1
	max_spare_servers = 1
}
modules {
	pap {
	}
	always ok {
		rcode = ok
	}
}
client probe {
	ipaddr = 127.0.0.0/8
	secret = s3cret
	require_message_authenticator = yes
}
server default {
	listen {
		type = auth
		ipaddr = HOST
		port = PORT
	}
	authorize {
		update control {
			Cleartext-Password := "a password of more than 16 bytes"
		}
		pap
		Autz-Type Status-Server {
			ok
		}
	}
	authenticate {
		Auth-Type PAP {
			pap
		}
	}
}
`

func TestFreeRADIUS(t *testing.T) {
	d := newDaemon(t)
	at := freePort(t)
	d.file("radiusd.conf", strings.NewReplacer("HOST", host.String(), "PORT", port(at)).Replace(radiusdConf))
	d.start(nil, "freeradius", "-f", "-l", "stdout", "-n", "radiusd", "-d", d.dir, "-D", "/usr/share/freeradius")
	with := func(user, password, secret string) conf.Probe {
		return conf.Probe{Type: conf.ProbeRADIUS, User: user, Password: password, Secret: secret}
	}
	d.live([]asked{
		{"user", with("u", "a password of more than 16 bytes", "s3cret"), at, ""},
		{"Status-Server", with("", "", "s3cret"), at, ""},
		{"wrong password", with("u", "x", "s3cret"), at, health.WhyLogin},
	}...)
}

const kamailioConf = `#!KAMAILIO
debug=0
log_stderror=yes
fork=yes
children=1
tcp_children=1
listen=udp:AT
listen=tcp:AT
auto_aliases=no
dns=no
rev_dns=no
loadmodule "sl.so"
request_route {
	if (method=="OPTIONS" && uri=~"^sip:down@") {
		sl_send_reply("503", "Service Unavailable");
	} else if (method=="OPTIONS") {
		sl_send_reply("200", "OK");
	}
}
`

func TestKamailio(t *testing.T) {
	d := newDaemon(t)
	at := freePort(t)
	d.start(nil, "kamailio", "-DD", "-E", "-m", "16", "-M", "4", "-w", d.dir, "-Y", d.dir,
		"-f", d.file("kamailio.cfg", strings.ReplaceAll(kamailioConf, "AT", at.String())))
	with := func(name, transport string) conf.Probe {
		return conf.Probe{Type: conf.ProbeSIP, Name: name, Transport: transport}
	}
	d.live([]asked{
		{"UDP", with("", ""), at, ""},
		{"TCP", with("", "tcp"), at, ""},
		{"user", with("sip:probe@probe.test", "udp"), at, ""},
		{"503 by UDP", with("down@probe.test", ""), at, health.WhyStatus},
		{"503 by TCP", with("down@probe.test", "tcp"), at, health.WhyStatus},
	}...)
}
