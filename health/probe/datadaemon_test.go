package probe

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

func TestRedis(t *testing.T) {
	d := newDaemon(t)
	plain, tls := freePort(t), freePort(t)
	cert, key := pemFiles(t, certificate(t, time.Now().Add(time.Hour)))
	d.start(nil, "redis-server", d.file("redis.conf", strings.NewReplacer("HOST", host.String(), "PLAIN", port(plain), "TLS", port(tls), "CERT", cert, "KEY", key).
		Replace("bind HOST\nport PLAIN\ntls-port TLS\ntls-cert-file CERT\ntls-key-file KEY\ntls-ca-cert-file CERT\ntls-auth-clients no\n"+
			"dir DIR\nsave \"\"\ndaemonize no\nrequirepass secret\nuser probe on >\"p w\" +ping\nuser mute on >mute -@all\n")))
	with := func(user, password string, mode conf.TLSMode) conf.Probe {
		return conf.Probe{Type: conf.ProbeRedis, User: user, Password: password, TLS: conf.TLS{Mode: mode, Verify: mode != conf.TLSOff, CA: cert, Name: "probe.test"}}
	}
	d.live([]asked{
		{"password", with("", "secret", conf.TLSOff), plain, ""},
		{"user", with("probe", "p w", conf.TLSOff), plain, ""},
		{"TLS", with("probe", "p w", conf.TLSOn), tls, ""},
		{"no password", with("", "", conf.TLSOff), plain, health.WhyLogin},
		{"wrong password", with("probe", "x", conf.TLSOff), plain, health.WhyLogin},
		{"no right", with("mute", "mute", conf.TLSOff), plain, health.WhyStatus},
	}...)
}

func TestMariaDB(t *testing.T) {
	d := newDaemon(t)
	at := freePort(t)
	cert, key := pemFiles(t, certificate(t, time.Now().Add(time.Hour)))
	data := filepath.Join(d.dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	// The system tables by the package's own scripts, as mariadb-install-db does it.
	system := "CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n"
	for _, name := range []string{"mysql_system_tables.sql", "mysql_performance_tables.sql", "mysql_system_tables_data.sql"} {
		b, err := os.ReadFile(tool(t, "/usr/share/mysql/"+name))
		if err != nil {
			t.Fatal(err)
		}
		system += string(b) + "\n"
	}
	options := []string{"mariadbd", "--no-defaults", "--user=root", "--datadir=" + data, "--socket=" + filepath.Join(d.dir, "socket"),
		"--pid-file=" + filepath.Join(d.dir, "pid"), "--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M", "--innodb-flush-method=nosync",
		"--skip-log-bin", "--loose-innodb-temp-data-file-path=ibtmp1:12M:autoextend"}
	boot := d.command(nil, append(options, "--bootstrap", "--skip-grant-tables", "--skip-networking")...)
	boot.Stdin = strings.NewReader(system)
	if err := boot.Run(); err != nil {
		t.Fatalf("mariadbd --bootstrap: %v (see \"make tools\"): %s", err, d.out)
	}
	users := d.file("init.sql", "CREATE DATABASE probe;\nCREATE TABLE probe.empty (a INT);\n"+
		"CREATE USER u@'%' IDENTIFIED BY 'secret';\nGRANT SELECT ON probe.* TO u@'%';\nCREATE USER open@'%';\n"+
		"CREATE USER s@'%' IDENTIFIED BY 'secret' REQUIRE SSL;\n")
	d.start(nil, append(options, "--bind-address="+host.String(), "--port="+port(at), "--init-file="+users, "--skip-name-resolve",
		"--ssl-cert="+cert, "--ssl-key="+key, "--max-connections=20")...)
	with := func(p conf.Probe, mode conf.TLSMode) conf.Probe {
		p.Type, p.TLS = conf.ProbeMySQL, conf.TLS{Mode: mode, Verify: mode != conf.TLSOff, CA: cert, Name: "probe.test"}
		return p
	}
	d.live([]asked{
		{"login", with(conf.Probe{User: "u", Password: "secret"}, conf.TLSOff), at, ""},
		{"nobody", with(conf.Probe{}, conf.TLSOff), at, ""},
		{"no password", with(conf.Probe{User: "open"}, conf.TLSOff), at, ""},
		{"database", with(conf.Probe{User: "u", Password: "secret", Database: "probe"}, conf.TLSOff), at, ""},
		{"query", with(conf.Probe{User: "u", Password: "secret", Query: "SELECT 1, NULL, 'x' UNION SELECT 2, 3, 'y'"}, conf.TLSOff), at, ""},
		{"TLS", with(conf.Probe{User: "s", Password: "secret", Query: "SELECT 1"}, conf.TLSOn), at, ""},
		{"nobody, TLS", with(conf.Probe{}, conf.TLSOn), at, ""},
		{"no rows", with(conf.Probe{User: "u", Password: "secret", Database: "probe", Query: "SELECT a FROM empty"}, conf.TLSOff), at, health.WhyContent},
		{"no result", with(conf.Probe{User: "u", Password: "secret", Query: "DO 1"}, conf.TLSOff), at, health.WhyContent},
		{"no such table", with(conf.Probe{User: "u", Password: "secret", Query: "SELECT a FROM probe.none"}, conf.TLSOff), at, health.WhyStatus},
		{"no SQL", with(conf.Probe{User: "u", Password: "secret", Query: "SELEC"}, conf.TLSOff), at, health.WhyStatus},
		{"wrong password", with(conf.Probe{User: "u", Password: "x"}, conf.TLSOff), at, health.WhyLogin},
		{"no such user", with(conf.Probe{User: "none", Password: "x"}, conf.TLSOff), at, health.WhyLogin},
		{"no such database", with(conf.Probe{User: "u", Password: "secret", Database: "none"}, conf.TLSOff), at, health.WhyStatus},
		{"TLS wanted", with(conf.Probe{User: "s", Password: "secret"}, conf.TLSOff), at, health.WhyLogin},
	}...)
}

func TestPostgreSQL(t *testing.T) {
	d := newDaemon(t)
	at := freePort(t)
	cert, key := pemFiles(t, certificate(t, time.Now().Add(time.Hour)))
	bin := filepath.Dir(tool(t, "/usr/lib/postgresql/*/bin/postgres"))
	data := filepath.Join(d.dir, "data")
	password := d.file("password", "secret\n")
	pem, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	own := d.file("key.pem", string(pem)) // its owner's alone, or it is not taken
	if err := os.Chmod(own, 0o600); err != nil {
		t.Fatal(err)
	}
	as := d.own("postgres")
	d.run(as, bin+"/initdb", "-D", data, "-A", "scram-sha-256", "-U", "u", "--pwfile="+password, "-N", "--no-instructions", "--locale=C")
	hba := d.file("hba.conf", "hostssl all s 0.0.0.0/0 scram-sha-256\nhost all plain 0.0.0.0/0 password\nhost all old 0.0.0.0/0 md5\n"+
		"host all open 0.0.0.0/0 trust\nhost all u 0.0.0.0/0 scram-sha-256\n")
	d.start(as, bin+"/postgres", "-D", data, "-h", host.String(), "-p", port(at), "-k", d.dir, "-c", "hba_file="+hba, "-c", "fsync=off",
		"-c", "ssl=on", "-c", "ssl_cert_file="+cert, "-c", "ssl_key_file="+own, "-c", "shared_buffers=4MB", "-c", "max_connections=20")
	with := func(p conf.Probe, mode conf.TLSMode) conf.Probe {
		p.Type, p.TLS = conf.ProbePgSQL, conf.TLS{Mode: mode, Verify: mode != conf.TLSOff, CA: cert, Name: "probe.test"}
		if p.Database == "" && p.User != "" {
			p.Database = "postgres"
		}
		return p
	}
	super := with(conf.Probe{User: "u", Password: "secret", Query: "SELECT 1"}, conf.TLSOff)
	d.until(asked{"start", super, at, ""}, enough)
	super.Query = "CREATE ROLE s LOGIN PASSWORD 'secret'; CREATE ROLE plain LOGIN PASSWORD 'secret'; CREATE ROLE open LOGIN; " +
		"SET password_encryption = 'md5'; CREATE ROLE old LOGIN PASSWORD 'secret'"
	wantBad(t, ask(t, super, at, enough), health.WhyContent) // done, and no rows
	d.live([]asked{
		{"scram", with(conf.Probe{User: "u", Password: "secret"}, conf.TLSOff), at, ""},
		{"md5", with(conf.Probe{User: "old", Password: "secret"}, conf.TLSOff), at, ""},
		{"clear", with(conf.Probe{User: "plain", Password: "secret"}, conf.TLSOff), at, ""},
		{"trust", with(conf.Probe{User: "open"}, conf.TLSOff), at, ""},
		{"nobody", with(conf.Probe{}, conf.TLSOff), at, ""},
		{"TLS", with(conf.Probe{User: "s", Password: "secret", Query: "SELECT 1"}, conf.TLSOn), at, ""},
		{"nobody, TLS", with(conf.Probe{}, conf.TLSOn), at, ""},
		{"query", with(conf.Probe{User: "u", Password: "secret", Query: "SELECT 1 UNION SELECT 2"}, conf.TLSOff), at, ""},
		{"notice before a row", with(conf.Probe{User: "u", Password: "secret", Query: "DROP TABLE IF EXISTS none; SELECT 1"}, conf.TLSOff), at, ""},
		{"no rows", with(conf.Probe{User: "u", Password: "secret", Query: "SELECT 1 WHERE false"}, conf.TLSOff), at, health.WhyContent},
		{"empty query", with(conf.Probe{User: "u", Password: "secret", Query: ";"}, conf.TLSOff), at, health.WhyContent},
		{"no such table", with(conf.Probe{User: "u", Password: "secret", Query: "SELECT * FROM none"}, conf.TLSOff), at, health.WhyStatus},
		{"wrong password", with(conf.Probe{User: "u", Password: "x"}, conf.TLSOff), at, health.WhyLogin},
		{"wrong password, md5", with(conf.Probe{User: "old", Password: "x"}, conf.TLSOff), at, health.WhyLogin},
		{"no such user", with(conf.Probe{User: "none", Password: "x"}, conf.TLSOff), at, health.WhyLogin},
		{"TLS wanted", with(conf.Probe{User: "s", Password: "secret"}, conf.TLSOff), at, health.WhyLogin},
		{"no such database", with(conf.Probe{User: "u", Password: "secret", Database: "none"}, conf.TLSOff), at, health.WhyStatus},
	}...)
}
