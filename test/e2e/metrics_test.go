package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/test/lab"
)

const (
	scrapeRate = 500             // datagrams a second, which any machine directs beside its scrapes
	scrapeTime = 5 * time.Second // of traffic
	scrapeSvcs = 400             // services beside the one that is used, with ten servers each
)

// figure is the value of a sample, "" if there is none.
func figure(text, sample string) string {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, sample+" "); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// httpFrom is a client of TCP inside a namespace.
func httpFrom(ns *lab.NS, cfg *tls.Config) *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: cfg, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		return ns.Dial(ctx, network, addr, netip.AddrPort{})
	}}}
}

// Scrapes of thousands of servers, one after the other, while datagrams pass: none is lost.
func TestScrapesUnderLoad(t *testing.T) {
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 1})
	c.servers[0].echoUDP(netip.AddrPortFrom(c.servers[0].addr, 53))
	var more strings.Builder
	for i := range scrapeSvcs {
		fmt.Fprintf(&more, "[[service]]\nlisten = \"tcp/203.0.113.%d:%d\"\nforward = \"nat\"\n", 1+i%200, 1000+i)
		for j := range 10 {
			fmt.Fprintf(&more, "[[service.server]]\naddress = \"10.9.0.%d:80\"\n", 10+j)
		}
	}
	config := c.config(1, strings.Replace(c.web("rr", "", 1), "tcp/VIP:80", "udp/VIP:53", 1)+more.String())
	d := startDirector(t, c.director, config+"[metrics]\nlisten = \"127.0.0.1:9273\"\n")
	client := httpFrom(c.director, nil)
	scrape := func() string {
		t.Helper()
		resp, err := client.Get("http://127.0.0.1:9273/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("scrape: %s, %v", resp.Status, err)
		}
		return string(b)
	}
	conn, err := c.client.Dial(t.Context(), "udp", netip.AddrPortFrom(c.vip, 53).String(), netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := ask(conn, "first"); err != nil { // neighbours are known from here on
		t.Fatal(err)
	}
	if err := conn.SetWriteDeadline(time.Time{}); err != nil { // ask has set one
		t.Fatal(err)
	}
	answered := make(chan int)
	go func() {
		n, buf := 0, make([]byte, 100)
		for conn.SetReadDeadline(time.Now().Add(time.Second)) == nil {
			if _, err := conn.Read(buf); err != nil {
				break
			}
			n++
		}
		answered <- n
	}()
	sent, failed := make(chan int), make(chan error, 1)
	go func() {
		n, tick := 0, time.NewTicker(time.Second/scrapeRate)
		defer tick.Stop()
		for end := time.Now().Add(scrapeTime); time.Now().Before(end); n++ {
			<-tick.C
			if _, err := conn.Write([]byte("x")); err != nil {
				failed <- err
				return
			}
		}
		sent <- n
	}()
	scrapes, text := 0, ""
	for n := 0; n == 0; {
		select {
		case n = <-sent:
			if got := <-answered; got != n {
				t.Errorf("%d of %d datagrams were answered, with %d scrapes", got, n, scrapes)
			}
			t.Logf("%d datagrams, %d scrapes of %d KB", n, scrapes, len(text)>>10)
			lab.Until(t, 5*time.Second, func() (bool, string) { // what is counted comes every two seconds
				text = scrape()
				in := figure(text, `dirigo_service_in_packets_total{service="udp/`+netip.AddrPortFrom(c.vip, 53).String()+`"}`)
				return in == strconv.Itoa(n+1), fmt.Sprintf("%s packets in, want %d", in, n+1)
			})
		case err := <-failed:
			t.Fatal(err)
		default:
			text = scrape()
			scrapes++
		}
	}
	if scrapes < 5 {
		t.Errorf("only %d scrapes were made", scrapes)
	}
	for _, port := range []string{"in", "out"} {
		for _, lost := range []string{`lost_frames_total{port="` + port + `",reason="full"}`, `lost_frames_total{port="` + port + `",reason="refused"}`, `ring_dropped_frames_total{port="` + port + `",worker="0"}`} {
			if got := figure(text, `dirigo_port_`+lost); got != "0" {
				t.Errorf("%s: %q", lost, got)
			}
		}
	}
	if n := strings.Count(text, "\ndirigo_server_weight{"); n != scrapeSvcs*10+1 {
		t.Errorf("%d servers in a scrape, want %d", n, scrapeSvcs*10+1)
	}
	d.stop()
	if _, err := client.Get("http://127.0.0.1:9273/metrics"); err == nil {
		t.Error("the listener is still there after the director's end")
	}
}

// Readiness follows the links, and does not mind a refused reload; health minds neither.
func TestHealthAndReadiness(t *testing.T) {
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 1})
	d := startDirector(t, c.director, c.config(2, c.web("rr", "", 1))+"[metrics]\nlisten = \"127.0.0.1:9273\"\n")
	client := httpFrom(c.director, nil)
	want := func(path string, status int, words string) {
		t.Helper()
		lab.Until(t, 5*time.Second, func() (bool, string) {
			resp, err := client.Get("http://127.0.0.1:9273" + path)
			if err != nil {
				return false, err.Error()
			}
			defer resp.Body.Close()
			b, _ := io.ReadAll(resp.Body)
			return resp.StatusCode == status && strings.Contains(string(b), words), fmt.Sprintf("%s: %s %s; want %d with %q", path, resp.Status, b, status, words)
		})
	}
	want("/healthz", 200, `"ok": true`)
	want("/readyz", 200, `"ok": true`)
	d.write("[director]\nwrong = 1\n")
	if out, err := d.command("reload", "--control", d.socket); err == nil {
		t.Errorf("reload: %s", out)
	}
	want("/readyz", 200, "the last reload was refused and the state before it serves on")
	want("/metrics", 200, "dirigo_config_last_reload_successful 0")
	c.director.Must("ip", "link", "set", "in", "down")
	want("/readyz", 503, "port in: the link is down")
	want("/metrics", 200, `dirigo_port_up{port="in"} 0`)
	want("/healthz", 200, `"ok": true`)
	c.director.Must("ip", "link", "set", "in", "up")
	want("/readyz", 200, `"ok": true`)
}

// sysctl of the running director prints, complains and exits as sysctl(8) does.
func TestSysctlCommand(t *testing.T) {
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 1})
	d := startDirector(t, c.director, c.config(1, c.web("rr", "", 1)))
	for _, s := range []struct {
		args, out string
		fails     bool
	}{
		{"net.ipv4.vs.drop_entry", "net.ipv4.vs.drop_entry = 0\n", false},
		{"drop_entry", "net.ipv4.vs.drop_entry = 0\n", false},
		{"-w net.ipv4.vs.drop_entry=1", "net.ipv4.vs.drop_entry = 1\n", false},
		{"net.ipv4.vs.drop_entry net/ipv4/vs/secure_tcp", "net.ipv4.vs.drop_entry = 1\nnet.ipv4.vs.secure_tcp = 0\n", false},
		{"-w net.ipv4.vs.drop_entry=7", "sysctl: setting key \"net.ipv4.vs.drop_entry\": Invalid argument\n", false},
		{"-w sync_retries=2", "net.ipv4.vs.sync_retries = 2\ndirigo: warning: net.ipv4.vs.sync_retries has no effect: connections are not synchronized in this version, so nothing is sent again\n", false},
		{"net.ipv4.vs.nothing", "sysctl: cannot stat /proc/sys/net/ipv4/vs/nothing: No such file or directory\n", true},
		{"-w net.ipv4.vs.drop_entry", "sysctl: \"net.ipv4.vs.drop_entry\" must be of the form name=value\n", true},
	} {
		out, err := c.director.Run("sh", "-c", binary+" sysctl --control "+d.socket+" "+s.args+" 2>&1; echo exit $?")
		code := "exit 0\n"
		if s.fails {
			code = "exit 1\n"
		}
		if err != nil || out != s.out+code {
			t.Errorf("sysctl %s: %v\n%swant\n%s%s", s.args, err, out, s.out, code)
		}
	}
	out, err := d.command("sysctl", "--control", d.socket, "-a")
	if n := strings.Count(out, "net.ipv4.vs."); err != nil || n != 29 || !strings.Contains(out, "\nnet.ipv4.vs.sync_threshold = 3\t50\n") {
		t.Errorf("sysctl -a: %v, %d settings:\n%s", err, n, out)
	}
}

// The API on the network: with the token ipvsadm works from another host, without it not.
func TestAPIOnTheNetwork(t *testing.T) {
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 1})
	dir := t.TempDir()
	files := map[string]string{}
	for _, name := range []string{"token", "cert", "key"} {
		files[name] = filepath.Join(dir, name)
	}
	if err := os.WriteFile(files["token"], []byte("0123456789abcdef0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := selfSigned(insideDIP, files["cert"], files["key"]); err != nil {
		t.Fatal(err)
	}
	config := c.config(1, c.web("rr", "", 1)) + fmt.Sprintf("[api]\nlisten = \"%s:9443\"\ntoken_file = %q\ncert = %q\nkey = %q\n", insideDIP, files["token"], files["cert"], files["key"])
	d := startDirector(t, c.director, config)
	from := func(env, args string) (string, error) {
		return c.servers[0].Run("sh", "-c", env+" DIRIGO_CONTROL=https://"+insideDIP+":9443 "+binary+" "+args+" 2>&1")
	}
	right := "DIRIGO_TOKEN=0123456789abcdef0123456789abcdef DIRIGO_CA=" + files["cert"]
	if out, err := from(right, "ipvsadm -Ln"); err != nil || !strings.Contains(out, c.vip.String()+":80 rr") {
		t.Errorf("ipvsadm with the token: %v %s", err, out)
	}
	if out, err := from(right, "sysctl drop_entry"); err != nil || out != "net.ipv4.vs.drop_entry = 0\n" {
		t.Errorf("sysctl with the token: %v %s", err, out)
	}
	for env, words := range map[string]string{
		"DIRIGO_CA=" + files["cert"]:                    "does not show the director's token",
		"DIRIGO_TOKEN=0123 DIRIGO_CA=" + files["cert"]:  "does not show the director's token",
		"DIRIGO_TOKEN=0123456789abcdef0123456789abcdef": "unknown authority",
	} {
		if out, err := from(env, "reload"); err == nil || !strings.Contains(out+err.Error(), words) {
			t.Errorf("with %s: %v %s; want %q", env, err, out, words)
		}
	}
	if err := os.Chmod(files["token"], 0o644); err != nil {
		t.Fatal(err)
	}
	d.stop()
	if out, err := d.command("run", "-c", d.file); err == nil || !strings.Contains(err.Error(), "every user of this host may use") {
		t.Errorf("with a token that all may read: %v %s", err, out)
	}
}
