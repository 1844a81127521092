package encap

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/dirigo-lb/dirigo/packet"
)

// kernelFrame is one conversation: what the kernel did to a frame, and on what link.
type kernelFrame struct {
	name string
	do   func(t *testing.T, f *packet.Frame, want []byte)
	mtu  int // of the link, if the kernel had to fragment
	in   string
	out  []string
}

func destTo(to packet.Addr, port uint16) func(*testing.T, *packet.Frame, []byte) {
	return func(_ *testing.T, f *packet.Frame, _ []byte) { Dest(f, to, port) }
}

func sourceTo(to packet.Addr, port uint16) func(*testing.T, *packet.Frame, []byte) {
	return func(_ *testing.T, f *packet.Frame, _ []byte) { Source(f, to, port) }
}

func direct(*testing.T, *packet.Frame, []byte) {}

// through sends by a tunnel. A kernel's GUE source port comes from a hash with a random
// key, so it is taken over from want, with what it changes in the checksum.
func through(tun Tunnel, id uint16) func(*testing.T, *packet.Frame, []byte) {
	return func(t *testing.T, f *packet.Frame, want []byte) {
		if !Encapsulate(f, &tun, id) {
			t.Fatal("refused")
		}
		if tun.Kind != GUE {
			return
		}
		udp := f.Buf[f.L4:]
		ours, kernels := f.Flow.SrcPort, binary.BigEndian.Uint16(want[f.L4-f.Start:])
		binary.BigEndian.PutUint16(udp, kernels)
		if check := binary.BigEndian.Uint16(udp[6:]); check != 0 {
			binary.BigEndian.PutUint16(udp[6:], packet.UpdateComplete(check, packet.Diff16(ours, kernels, 0)))
		}
	}
}

func addr(s string) packet.Addr { return packet.AddrFrom(netip.MustParseAddr(s)) }

// TestAsTheKernel does to recorded frames what the kernel did and compares all bytes.
func TestAsTheKernel(t *testing.T) {
	for _, c := range kernelFrames {
		t.Run(c.name, func(t *testing.T) {
			f := load(t, unhex(t, c.in), true)
			var want [][]byte
			for _, s := range c.out {
				want = append(want, unhex(t, s))
			}
			if !DecTTL(f) {
				t.Fatal("TTL")
			}
			c.do(t, f, want[0])
			f.SetMACs((*packet.MAC)(want[0][:6]), (*packet.MAC)(want[0][6:12]))
			if c.mtu == 0 {
				if len(want) != 1 {
					t.Fatal("the kernel fragmented")
				}
				checkBytes(t, f.Bytes(), want[0], c.name)
				return
			}
			var frag Fragmenter
			if f.Flow.V6 {
				frag.ID = binary.BigEndian.Uint32(want[0][14+40+4:])
			}
			if !frag.Reset(f, c.mtu, true) {
				t.Fatal("not fragmented")
			}
			dst := packet.Frame{Buf: make([]byte, frag.Size())}
			for i := range want {
				if !frag.Next(&dst) {
					t.Fatalf("%d fragments, want %d", i, len(want))
				}
				checkBytes(t, dst.Bytes(), want[i], i)
			}
			if frag.Next(&dst) {
				t.Fatal("more fragments than the kernel's")
			}
		})
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	s, letters, _ := strings.Cut(s, "|")
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	if letters == "" {
		return b
	}
	n, err := strconv.Atoi(letters[2:])
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		b = append(b, 'a'+(letters[0]-'a'+byte(i%26))%26)
	}
	return b
}
