package probe

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

func port(at netip.AddrPort) string { return fmt.Sprint(at.Port()) }

// tool finds what a package keeps in a directory with its version.
func tool(t testing.TB, pattern string) string {
	t.Helper()
	list, err := filepath.Glob(pattern)
	if err != nil || len(list) == 0 {
		t.Fatalf("no %s: see \"make tools\"", pattern)
	}
	return list[len(list)-1]
}

const vsftpdConf = `listen=YES
listen_address=HOST
listen_port=PORT
background=NO
anonymous_enable=YES
local_enable=NO
anon_root=DIR/empty
secure_chroot_dir=DIR/empty
seccomp_sandbox=NO
isolate=NO
isolate_network=NO
ssl_enable=YES
allow_anon_ssl=YES
rsa_cert_file=CERT
rsa_private_key_file=KEY
delay_failed_login=0
`

func TestVsftpd(t *testing.T) {
	d := newDaemon(t)
	at := freePort(t)
	cert, key := pemFiles(t, certificate(t, time.Now().Add(time.Hour)))
	if err := os.Mkdir(filepath.Join(d.dir, "empty"), 0o555); err != nil {
		t.Fatal(err)
	}
	d.start(nil, "vsftpd", d.file("vsftpd.conf", strings.NewReplacer("HOST", host.String(), "PORT", port(at), "CERT", cert, "KEY", key).Replace(vsftpdConf)))
	d.live([]asked{
		{"greeting", conf.Probe{Type: conf.ProbeFTP}, at, ""},
		{"login", conf.Probe{Type: conf.ProbeFTP, User: "anonymous", Password: "me@"}, at, ""},
		{"AUTH TLS", conf.Probe{Type: conf.ProbeFTP, User: "anonymous", Password: "me@",
			TLS: conf.TLS{Mode: conf.TLSStartTLS, Verify: true, CA: cert, Name: "probe.test"}}, at, ""},
		{"no such user", conf.Probe{Type: conf.ProbeFTP, User: "nobody", Password: "x"}, at, health.WhyLogin},
		{"not smtp", conf.Probe{Type: conf.ProbeSMTP}, at, health.WhyStatus},
	}...)
}

const slapdConf = `include /etc/ldap/schema/core.schema
pidfile DIR/pid
argsfile DIR/args
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile CERT
TLSCertificateKeyFile KEY
database mdb
suffix "dc=probe,dc=test"
rootdn "cn=admin,dc=probe,dc=test"
rootpw secret
directory DIR/db
maxsize 1048576
access to dn.base="ou=closed,dc=probe,dc=test" by * none
access to * by * read
`

const slapdEntries = `dn: dc=probe,dc=test
objectClass: top
objectClass: dcObject
objectClass: organization
dc: probe
o: The Probes
description: long

dn: ou=closed,dc=probe,dc=test
objectClass: organizationalUnit
ou: closed
`

func TestSlapd(t *testing.T) {
	d := newDaemon(t)
	plain, tls := freePort(t), freePort(t)
	cert, key := pemFiles(t, certificate(t, time.Now().Add(time.Hour)))
	config := d.file("slapd.conf", strings.NewReplacer("CERT", cert, "KEY", key).Replace(slapdConf))
	if err := os.Mkdir(filepath.Join(d.dir, "db"), 0o700); err != nil {
		t.Fatal(err)
	}
	// A value of more than 127 bytes has a length of two.
	entries := d.file("entries.ldif", strings.Replace(slapdEntries, "long", strings.Repeat("long", 100), 1))
	d.run(nil, "slapadd", "-f", config, "-l", entries)
	d.start(nil, "slapd", "-f", config, "-d", "0", "-h", fmt.Sprintf("ldap://%v ldaps://%v", plain, tls))
	with := func(p conf.Probe, mode conf.TLSMode) conf.Probe {
		p.Type, p.TLS = conf.ProbeLDAP, conf.TLS{Mode: mode, Verify: mode != conf.TLSOff, CA: cert, Name: "probe.test"}
		return p
	}
	const base, admin = "dc=probe,dc=test", "cn=admin,dc=probe,dc=test"
	d.live([]asked{
		{"anonymous", with(conf.Probe{}, conf.TLSOff), plain, ""},
		{"bind", with(conf.Probe{User: admin, Password: "secret"}, conf.TLSOff), plain, ""},
		{"entry", with(conf.Probe{Name: base}, conf.TLSOff), plain, ""},
		{"dn", with(conf.Probe{Name: base, Answer: "^dc=probe,dc=test$"}, conf.TLSOff), plain, ""},
		{"attribute", with(conf.Probe{Name: base, Answer: "^o: The Probes$"}, conf.TLSOff), plain, ""},
		{"long attribute", with(conf.Probe{Name: base, Answer: "^description: (long){100}$"}, conf.TLSOff), plain, ""},
		{"root DSE", with(conf.Probe{Answer: "^objectClass: "}, conf.TLSOff), plain, ""},
		{"StartTLS", with(conf.Probe{User: admin, Password: "secret", Name: base}, conf.TLSStartTLS), plain, ""},
		{"ldaps", with(conf.Probe{Name: base}, conf.TLSOn), tls, ""},
		{"password", with(conf.Probe{User: admin, Password: "wrong"}, conf.TLSOff), plain, health.WhyLogin},
		{"no such entry", with(conf.Probe{Name: "ou=none," + base}, conf.TLSOff), plain, health.WhyStatus},
		{"nobody may read", with(conf.Probe{Name: "ou=closed," + base}, conf.TLSOff), plain, health.WhyStatus}, // noSuchObject
		{"another answer", with(conf.Probe{Name: base, Answer: "^o: Others$"}, conf.TLSOff), plain, health.WhyContent},
	}...)
}
