package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// vsftpdConf: anonymous, with data connections from port 20. DIR is put in. The sandboxes
// are off: they want namespaces of their own.
const vsftpdConf = `listen=NO
listen_ipv6=YES
background=NO
anonymous_enable=YES
local_enable=NO
anon_root=DIR/files
connect_from_port_20=YES
seccomp_sandbox=NO
isolate=NO
isolate_network=NO
secure_chroot_dir=DIR/empty
`

// startFTP starts a stock FTP server, which gives out the payload of the given size.
func (s *server) startFTP(c *cluster, size int) (file, sum string) {
	c.t.Helper()
	path, sum := payload(c.t, size)
	dir, err := os.MkdirTemp(scratch, "ftp")
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { os.RemoveAll(dir) })
	conf := filepath.Join(dir, "vsftpd.conf")
	for _, err := range []error{
		os.Chmod(dir, 0o755), // the server becomes somebody else
		os.Mkdir(filepath.Join(dir, "empty"), 0o555),
		os.Mkdir(filepath.Join(dir, "files"), 0o755),
		os.WriteFile(conf, []byte(strings.ReplaceAll(vsftpdConf, "DIR", dir)), 0o600),
		os.Link(path, filepath.Join(dir, "files", filepath.Base(path))),
		os.Chmod(path, 0o644),
	} {
		if err != nil {
			c.t.Fatal(err)
		}
	}
	p := s.Start("vsftpd", conf)
	lab.Until(c.t, 5*time.Second, func() (bool, string) {
		out, err := s.Run("ss", "-Hltn", "sport = :21")
		if err != nil || p.Ended() {
			c.t.Fatalf("vsftpd: %v: %s", err, p.Out)
		}
		return out != "", "vsftpd does not listen: " + p.Out.String()
	})
	return filepath.Base(path), sum
}

// A stock FTP server behind NAT, by the one address of the service, without a service for
// its data connections: the director reads along and expects them.
func TestFTP(t *testing.T) {
	for _, s := range []shape{
		{method: "nat", arms: 2, servers: 1}, {method: "nat", arms: 1, servers: 1},
		{method: "nat", arms: 2, servers: 1, v6: true},
	} {
		t.Run(s.String(), func(t *testing.T) {
			c := newCluster(t, s)
			file, sum := c.servers[0].startFTP(c, mib)
			startDirector(t, c.director, c.config(2, strings.Replace(c.web("rr", "", 1), ":80", ":21", 1)))
			strays := c.strays()
			url := "ftp://" + net.JoinHostPort(c.vip.String(), "21") + "/"
			modes := map[string][]string{
				"EPSV": {"--ftp-pasv"},
				"EPRT": {"--ftp-port", "-"},
			}
			if !s.v6 { // PASV and PORT have no words for IPv6 addresses (RFC 2428 section 1)
				// The address that the server announces is used, not the one of the control connection.
				modes["PASV"] = []string{"--disable-epsv", "--no-ftp-skip-pasv-ip"}
				modes["PORT"] = []string{"--disable-eprt", "--ftp-port", "-"}
			}
			for mode, options := range modes {
				curl := append([]string{"curl", "-v", "-sS", "--fail", "--max-time", "4"}, options...)
				said := filepath.Join(t.TempDir(), "said")
				curl = append(curl, "--stderr", said)
				// curl gives up (exit 8) when the server's last word overtakes the data connection
				// that waits in its own queue: that is a race of curl with itself.
				fetch := func(url string) (out string, err error) {
					for range 3 {
						out, err = c.client.Run(append(slices.Clone(curl), url)...)
						if b, _ := os.ReadFile(said); err == nil || !strings.Contains(string(b), "Ctrl conn has data while waiting for data conn") {
							break
						}
					}
					return out, err
				}
				list, err := fetch(url)
				b, _ := os.ReadFile(said)
				if err != nil || !strings.Contains(list, file) || !strings.Contains(list, fmt.Sprint(mib)) {
					t.Errorf("%s: directory listing %q, %v\n%s", mode, list, err, b)
					continue
				}
				if !strings.Contains(string(b), "> "+mode) {
					t.Errorf("curl has not used %s:\n%s", mode, b)
				}
				got, err := fetch(url + file)
				h := sha256.Sum256([]byte(got))
				if err != nil || hex.EncodeToString(h[:]) != sum {
					b, _ := os.ReadFile(said)
					t.Errorf("%s: download of %d bytes, want %d: %v\n%s", mode, len(got), mib, err, b)
				}
			}
			// Nothing of the server's own address went out.
			if strays.Count() > 0 {
				t.Errorf("the host spoke: %v", strays)
			}
		})
	}
}
