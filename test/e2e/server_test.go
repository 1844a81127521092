package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// server is a real server: a namespace with nginx in it, on every address.
type server struct {
	*lab.NS
	name string // what its pages say
	addr netip.Addr
	dir  string // uploads to /put/NAME are files here

	nginx *lab.Proc
	decap *lab.Proc // of a tunnel server
}

func (c *cluster) newServer(i int) *server {
	c.t.Helper()
	s := &server{NS: lab.New(c.t, fmt.Sprintf("s%d", i)), name: fmt.Sprintf("s%d", i), addr: netip.MustParseAddr(c.ip(fmt.Sprintf("10.9.0.%d", 10+i)))}
	c.lan.Plug("switch0", lab.Link{NS: s.NS, Dev: "eth0"}, c.shape.queues)
	gateway := insideGW
	if c.shape.method == "nat" {
		gateway = insideDIP
	}
	s.IP(c.on("eth0", fmt.Sprintf("10.9.0.%d", 10+i)), c.via(gateway))
	s.Sysctl("ipv4/conf/all/accept_redirects", "0")
	s.Sysctl("ipv4/conf/eth0/accept_redirects", "0")
	if c.shape.plain {
		return s
	}
	switch c.shape.method {
	case "dr":
		// The classic preparation of a direct-routing server (LVS-HOWTO, "the ARP problem").
		s.Sysctl("ipv4/conf/all/arp_ignore", "1")
		s.Sysctl("ipv4/conf/all/arp_announce", "2")
		s.IP(fmt.Sprintf("addr add %v/%d dev lo", c.vip, c.vip.BitLen()))
	case "tun":
		s.startDecap(c)
	}
	s.startNginx(c)
	return s
}

// startDecap starts the program that unwraps a tunnel server's packets.
func (s *server) startDecap(c *cluster) {
	c.t.Helper()
	args := []string{binary, "realserver", "--vip", c.vip.String(), "--decap", "--state", c.t.TempDir()}
	if c.shape.tunnel == "gue" {
		args = append(args, "--gue-port", fmt.Sprint(guePort))
	}
	s.decap = s.Start(args...)
	lab.Until(c.t, 5*time.Second, func() (bool, string) {
		return strings.Contains(s.decap.Out.String(), "ready"), "realserver: " + s.decap.Out.String()
	})
}

// nginxConf: the name on /, what the server saw of the client on /who, and files. NAME,
// DIR and FILES are put in.
const nginxConf = `user root; worker_processes 1; worker_rlimit_nofile 17000; daemon off; pid DIR/pid; error_log stderr error;
events { worker_connections 16384; }
http {
  access_log off; sendfile on; client_max_body_size 0; keepalive_requests 100000;
  client_body_temp_path DIR/tmp;
  server {
    listen 80 backlog=4096; listen 443; listen 8080; listen [::]:80 backlog=4096;
    default_type text/plain;
    location = / { return 200 "NAME\n"; }
    location = /who { return 200 "NAME $remote_addr $server_port\n"; }
    location /files/ { alias FILES/; }
    location /put/ { alias DIR/put/; dav_methods PUT; }
  }
}`

func (s *server) startNginx(c *cluster) {
	c.t.Helper()
	dir, err := os.MkdirTemp(scratch, s.name)
	if err == nil {
		err = os.Mkdir(filepath.Join(dir, "put"), 0o755)
	}
	conf := strings.NewReplacer("NAME", s.name, "DIR", dir, "FILES", scratch).Replace(nginxConf)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(conf), 0o644)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { os.RemoveAll(dir) })
	s.dir = filepath.Join(dir, "put")
	s.nginx = s.Start("nginx", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr")
	lab.Until(c.t, 5*time.Second, func() (bool, string) {
		if _, err := os.Stat(filepath.Join(dir, "pid")); err != nil {
			return false, fmt.Sprintf("nginx: %v %s", err, s.nginx.Out)
		}
		return true, ""
	})
}

// stopNginx ends the server's program; startNginx brings it back. Its connections are
// refused meanwhile.
func (s *server) stopNginx(c *cluster) {
	c.t.Helper()
	s.nginx.Signal(syscall.SIGTERM)
	if err := s.nginx.Wait(5 * time.Second); err != nil {
		c.t.Fatalf("nginx: %v", err)
	}
}
