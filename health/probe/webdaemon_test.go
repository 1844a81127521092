package probe

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

const nginxConf = `daemon off; worker_processes 1; pid DIR/pid; error_log stderr crit; user root;
events { worker_connections 64; }
http {
  access_log off; root DIR; default_type text/plain;
  client_body_temp_path DIR/1; proxy_temp_path DIR/2; fastcgi_temp_path DIR/3; uwsgi_temp_path DIR/4; scgi_temp_path DIR/5;
  server {
    listen PLAIN; server_name _;
    location = / { return 200 "$server_protocol $request_method host=$http_host\n"; }
    location = /moved { return 301 /; }
    location = /down { return 503; }
    location = /query { return 200 "args=$args\n"; }
  }
  server { listen PLAIN; server_name named.test; location / { return 200 named; } }
  server { listen H2C http2; location / { return 200 "$server_protocol host=$http_host\n"; } }
  server {
    listen TLS ssl; server_name _; ssl_certificate CERT; ssl_certificate_key KEY;
    ssl_verify_client optional_no_ca;
    location / { return 200 "$server_protocol sni=$ssl_server_name client=$ssl_client_s_dn\n"; }
  }
  server { listen TLS2 ssl http2; ssl_certificate CERT; ssl_certificate_key KEY; location / { return 200 "$server_protocol\n"; } location /down { return 500; } }
}
`

func TestNginx(t *testing.T) {
	d := newDaemon(t)
	plain, h2c, tls1, tls2 := freePort(t), freePort(t), freePort(t), freePort(t)
	cert, key := pemFiles(t, certificate(t, time.Now().Add(5*24*time.Hour)))
	long := bytes.Repeat([]byte("0123456789abcde\n"), 1<<17) // 2 MiB
	d.file("long", string(long))
	d.file("short", "a short file\n")
	d.start(nil, "nginx", "-e", "stderr", "-p", d.dir, "-c", d.file("nginx.conf", strings.NewReplacer("PLAIN", plain.String(), "H2C", h2c.String(),
		"TLS2", tls2.String(), "TLS", tls1.String(), "CERT", cert, "KEY", key).Replace(nginxConf)))
	web := func(p conf.Probe) conf.Probe { p.Type = conf.ProbeHTTP; return p }
	tls := func(p conf.Probe) conf.Probe { p.Type, p.TLS.Mode = conf.ProbeHTTPS, conf.TLSOn; return p }
	d.live([]asked{
		{"http", web(conf.Probe{Body: `^HTTP/1\.1 GET host=` + plain.String() + `\n$`}), plain, ""},
		{"1.0", web(conf.Probe{HTTP: "1.0", Body: `^HTTP/1\.0 GET`}), plain, ""},
		{"method", web(conf.Probe{Method: "OPTIONS", Body: `^HTTP/1\.1 OPTIONS`}), plain, ""},
		{"head", web(conf.Probe{Method: "HEAD", Path: "/long"}), plain, ""},
		{"host", web(conf.Probe{Host: "named.test", Body: "^named$"}), plain, ""},
		{"query", web(conf.Probe{Path: "/query?a=b%20c&d=//", Body: "args=a=b%20c&d=//\n"}), plain, ""},
		{"status", web(conf.Probe{Path: "/moved", Status: "200-299, 301"}), plain, ""},
		{"md5", web(conf.Probe{Path: "/short", Digest: fmt.Sprintf("%x", md5.Sum([]byte("a short file\n")))}), plain, ""},
		{"sha256", web(conf.Probe{Path: "/short", Digest: fmt.Sprintf("%X", sha256.Sum256([]byte("a short file\n")))}), plain, ""},
		{"long body", web(conf.Probe{Path: "/long", Body: "^0123"}), plain, ""},
		{"prior knowledge", web(conf.Probe{HTTP: "2", Body: `^HTTP/2\.0 host=` + h2c.String()}), h2c, ""},
		{"https", tls(conf.Probe{Body: `^HTTP/1\.1 sni= client=\n`}), tls1, ""},
		{"sni", tls(conf.Probe{Host: "named.test", Body: `sni=named.test`}), tls1, ""},
		{"sni of its own", tls(conf.Probe{Host: "named.test", TLS: conf.TLS{Name: "other.test"}, Body: `sni=other.test`}), tls1, ""},
		{"client certificate", tls(conf.Probe{TLS: conf.TLS{Cert: cert, Key: key}, Body: `client=CN=probe.test`}), tls1, ""},
		{"verified", tls(conf.Probe{TLS: conf.TLS{Verify: true, CA: cert, Name: "probe.test"}}), tls1, ""},
		{"ALPN", tls(conf.Probe{Body: `^HTTP/2\.0\n`}), tls2, ""},
		{"2", tls(conf.Probe{HTTP: "2", Body: `^HTTP/2\.0\n`}), tls2, ""},
		{"1.1 where 2 is offered", tls(conf.Probe{HTTP: "1.1", Body: `^HTTP/1\.1\n`}), tls2, ""},
		{"1.0 with TLS", tls(conf.Probe{HTTP: "1.0", Body: `^HTTP/1\.0\n`}), tls2, ""},

		{"no redirect", web(conf.Probe{Path: "/moved"}), plain, health.WhyStatus},
		{"503", web(conf.Probe{Path: "/down"}), plain, health.WhyStatus},
		{"404", web(conf.Probe{Path: "/nothing"}), plain, health.WhyStatus},
		{"404 wanted", web(conf.Probe{Status: "404"}), plain, health.WhyStatus},
		{"body", web(conf.Probe{Path: "/short", Body: "a long file"}), plain, health.WhyContent},
		{"body of 2", tls(conf.Probe{Body: "HTTP/1"}), tls2, health.WhyContent},
		{"status of 2", tls(conf.Probe{Path: "/down"}), tls2, health.WhyStatus},
		{"digest", web(conf.Probe{Path: "/short", Digest: strings.Repeat("0", 32)}), plain, health.WhyContent},
		{"digest of a long body", web(conf.Probe{Path: "/long", Digest: strings.Repeat("0", 64)}), plain, health.WhyTooLong},
		{"no HTTP/2", tls(conf.Probe{HTTP: "2"}), tls1, health.WhyTLS}, // no_application_protocol, or none chosen
		{"http where https is", web(conf.Probe{}), tls1, health.WhyStatus},
		{"https where http is", tls(conf.Probe{}), plain, health.WhyTLS},
		{"unknown issuer", tls(conf.Probe{TLS: conf.TLS{Verify: true, Name: "probe.test"}}), tls1, health.WhyTLS},
	}...)
}

const phpConf = `[global]
error_log = /dev/stderr
daemonize = no
[www]
user = nobody
group = nogroup
listen = AT
pm = static
pm.max_children = 1
ping.path = /ping
pm.status_path = /status
`

func TestPHPFPM(t *testing.T) {
	d := newDaemon(t)
	at := freePort(t)
	script := d.file("hello.php", `<?php http_response_code(202); echo "hello ", $_GET["who"], "\n";`)
	d.start(nil, tool(t, "/usr/sbin/php-fpm*"), "-n", "--nodaemonize", "--fpm-config", d.file("fpm.conf", strings.ReplaceAll(phpConf, "AT", at.String())))
	cgi := func(p conf.Probe) conf.Probe { p.Type = conf.ProbeFastCGI; return p }
	d.live([]asked{
		{"ping", cgi(conf.Probe{}), at, ""},
		{"status page", cgi(conf.Probe{Path: "/status", Body: "process manager: +static"}), at, ""},
		{"script", cgi(conf.Probe{Path: script + "?who=you", Status: "202", Body: "^hello you\n$"}), at, ""},
		{"no such script", cgi(conf.Probe{Path: "/nothing"}), at, health.WhyStatus},
		{"another status", cgi(conf.Probe{Path: script + "?who=you", Status: "200"}), at, health.WhyStatus},
		{"another body", cgi(conf.Probe{Path: "/ping", Body: "^ping$"}), at, health.WhyContent},
	}...)
}

// An answer of HTTP/1 without a length, as old servers give it: it ends with the connection.
func TestHTTPBodyUntilTheEnd(t *testing.T) {
	at := serve(t, func(c net.Conn) {
		c.Read(make([]byte, 4096))
		c.Write([]byte("HTTP/1.0 200 OK\r\n\r\nhello"))
	})
	wantGood(t, ask(t, conf.Probe{Type: conf.ProbeHTTP, Body: "^hello$"}, at, enough))
}

// Interim responses come before the answer (RFC 9110 section 15.2).
func TestHTTPInterimResponses(t *testing.T) {
	at := serve(t, func(c net.Conn) {
		c.Read(make([]byte, 4096))
		c.Write([]byte("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"))
	})
	wantGood(t, ask(t, conf.Probe{Type: conf.ProbeHTTP, Status: "204"}, at, enough))
}
