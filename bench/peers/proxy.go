package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// Ports of TCP that a proxy listens on.
var proxied = []int{portEcho, portHTTP, portIperf}

// haproxy is HAProxy as a TCP proxy with one thread and its defaults.
func haproxy(e *env, n *network) *lab.Proc {
	var b strings.Builder
	b.WriteString("global\n maxconn 1000\n nbthread 1\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n")
	for _, p := range proxied {
		fmt.Fprintf(&b, "listen p%[1]d\n bind %[2]v:%[1]d\n server s %[3]v:%[1]d\n", p, vip, serverIP)
	}
	n.director.IP(fmt.Sprintf("addr add %v/32 dev lo", vip))
	return pinned(e, n, "haproxy", "-db", "-f", write(n.tb, "haproxy.cfg", b.String()))
}

// nginxStream is nginx as a TCP proxy, one process with its defaults.
func nginxStream(e *env, n *network) *lab.Proc {
	var b strings.Builder
	for _, p := range proxied {
		fmt.Fprintf(&b, "server { listen %[2]v:%[1]d backlog=4096; proxy_pass %[3]v:%[1]d; }\n", p, vip, serverIP)
	}
	n.director.IP(fmt.Sprintf("addr add %v/32 dev lo", vip))
	return pinned(e, n, nginxArgs(n.tb, "load_module "+streamModule()+";", "stream {\n"+b.String()+"}")...)
}

// streamModule is where Debian puts the module; elsewhere nginx finds it by itself.
func streamModule() string {
	const debian = "/usr/lib/nginx/modules/ngx_stream_module.so"
	if _, err := os.Stat(debian); err == nil {
		return debian
	}
	return "modules/ngx_stream_module.so"
}

// webServer starts nginx in the server's namespace: one short answer to everything.
func (n *network) webServer() *lab.Proc {
	return n.server.Start(nginxArgs(n.tb, "", fmt.Sprintf(`http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; default_type text/plain;
  client_body_temp_path /tmp; proxy_temp_path /tmp; fastcgi_temp_path /tmp; uwsgi_temp_path /tmp; scgi_temp_path /tmp;
  server { listen %d backlog=4096; return 200 "hello\n"; }
}`, portHTTP))...)
}

// nginxArgs is the command of an nginx that is one process, so that its CPU time is one
// process's.
func nginxArgs(tb testing.TB, head, body string) []string {
	file := write(tb, "nginx.conf", head+`
user root; worker_processes 1; master_process off; daemon off; error_log stderr crit;
pid DIR/pid; worker_rlimit_nofile 20000;
events { worker_connections 8192; }
`+body)
	dir := filepath.Dir(file)
	return []string{"nginx", "-p", dir, "-c", file, "-e", "stderr"}
}

// write writes a file of the sample; DIR in it is its directory.
func write(tb testing.TB, name, content string) string {
	file := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(content, "DIR", filepath.Dir(file))), 0o644); err != nil {
		tb.Fatal(err)
	}
	return file
}
