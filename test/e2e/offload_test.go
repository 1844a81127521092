package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/test/lab"
)

const mib = 1 << 20

// payload makes, once, a file of noise that every nginx has under /files/, and returns
// its path and SHA-256.
func payload(t testing.TB, size int) (path, sum string) {
	t.Helper()
	path = filepath.Join(scratch, fmt.Sprintf("noise-%d", size))
	if b, err := os.ReadFile(path + ".sha256"); err == nil {
		return path, string(b)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(f, h), rand.NewChaCha8([32]byte{byte(size)}), int64(size)); err != nil {
		t.Fatal(err)
	}
	sum = hex.EncodeToString(h.Sum(nil))
	if err := os.WriteFile(path+".sha256", []byte(sum), 0o644); err != nil {
		t.Fatal(err)
	}
	return path, sum
}

// download fetches the payload through the virtual service; upload sends it there. Both
// compare sums and return how long it took.
func (c *cluster) download(size int) time.Duration {
	c.t.Helper()
	path, sum := payload(c.t, size)
	start := time.Now()
	got := c.client.Must("sh", "-c", "curl -sS --fail --max-time 60 "+c.url("/files/"+filepath.Base(path))+" | sha256sum")
	if got, _, _ := strings.Cut(got, " "); got != sum {
		c.t.Errorf("download of %d bytes has sum %s, want %s", size, got, sum)
	}
	return time.Since(start)
}

func (c *cluster) upload(size int) time.Duration {
	c.t.Helper()
	path, sum := payload(c.t, size)
	start := time.Now()
	c.client.Must("curl", "-sS", "--fail", "--max-time", "60", "-H", "Expect:", "-T", path, c.url("/put/up"))
	took := time.Since(start)
	for _, s := range c.servers {
		f, err := os.Open(filepath.Join(s.dir, "up"))
		if err != nil {
			continue
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			c.t.Fatal(err)
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != sum {
			c.t.Errorf("upload of %d bytes to %s has sum %s, want %s", size, s.name, got, sum)
		}
		if err := os.Remove(f.Name()); err != nil {
			c.t.Error(err)
		}
		return took
	}
	c.t.Error("no server has the upload")
	return took
}

// Large transfers arrive intact in both directions, whatever the links leave to each
// other: super-frames and unfinished checksums, or neither.
func TestTransfersWithOffloadsOnAndOff(t *testing.T) {
	full := os.Getenv("DIRIGO_E2E_FULL") == "1"
	for _, offloads := range []bool{true, false} {
		for _, method := range []string{"nat", "dr", "tun"} {
			t.Run(fmt.Sprintf("%s/offloads=%v", method, offloads), func(t *testing.T) {
				size := 256 * mib
				if full || method == "nat" && offloads {
					size = 1024 * mib
				}
				c := newCluster(t, shape{method: method, arms: 2, servers: 1})
				if !offloads {
					c.everyDev(func(ns *lab.NS, dev string) { ns.Offloads(dev, false) })
				}
				d := startDirector(t, c.director, c.config(1, c.web("rr", "", 1)))
				down, up := c.download(size), c.upload(size)
				t.Logf("%d MiB: down %.0f MB/s, up %.0f MB/s", size/mib, float64(size)/1e6/down.Seconds(), float64(size)/1e6/up.Seconds())
				c.passedWhole(d, size, offloads)
				if s, err := d.status(); err == nil {
					t.Logf("ports: %+v", s.Ports)
				}
			})
		}
	}
}

// passedWhole checks that frames were as large as the links allow: with offloads on the
// director must not be the one who makes them small.
func (c *cluster) passedWhole(d *director, size int, offloads bool) {
	c.t.Helper()
	frames := uint64(size / 1500) // what an upload takes at least without offloads
	lab.Until(c.t, 5*time.Second, func() (bool, string) {
		s, err := d.status()
		if err != nil {
			return false, err.Error()
		}
		in := s.Ports[0].Received
		if !offloads {
			return in > frames, fmt.Sprintf("%d frames received for %d bytes: these were no plain frames", in, size)
		}
		// Acknowledgements of the download are in it too: one for two super-frames at most.
		return in > 0 && in < frames/2, fmt.Sprintf("%d frames received for %d bytes: super-frames are expected", in, size)
	})
}
