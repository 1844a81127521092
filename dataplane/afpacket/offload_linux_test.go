package afpacket

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/packet"
)

// tap makes a TAP interface in n, up, and returns its file: what is written there, a
// virtio_net_hdr before each frame, the interface receives.
func (n *ns) tap(name string) *os.File {
	n.tb.Helper()
	var f *os.File
	n.do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		f = os.NewFile(uintptr(fd), name)
		ifr, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		return unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	})
	n.tb.Cleanup(func() { f.Close() })
	ip(n.tb, "-n", n.name, "link", "set", name, "up")
	return f
}

// A super-frame of a kind that virtio_net_hdr has no word for (UFO, of a virtual machine's
// host; SCTP) is lost, and nothing else: what comes behind it is received.
func TestFrameOfAnUnknownOffload(t *testing.T) {
	modes(t, func(t *testing.T, m Mode) {
		dir, _ := pair(t)
		tap := dir.tap("t0")
		q := dir.open(Config{Interface: "t0", Mode: m, RingSlots: 64}, 1)[0]
		write := func(v packet.Vnet, frame []byte) {
			t.Helper()
			b := append(make([]byte, vnetLen), frame...)
			putVnet(b, v)
			if _, err := tap.Write(b); err != nil {
				t.Fatal(err)
			}
		}
		// An IPv4 UDP datagram of 3000 bytes, to be cut into fragments.
		ufo := packet.Spec{Flow: packet.Flow{Src: packet.AddrFrom4([4]byte{10, 9, 0, 1}), Dst: packet.AddrFrom4([4]byte{10, 9, 0, 2}), SrcPort: 7, DstPort: 8, Proto: packet.UDP}, TTL: 64, Payload: make([]byte, 3000)}.Frame()
		// A ring of slots stands still, but not for many frames.
		behind := func() {
			t.Helper()
			var f [1]packet.Frame
			for range 2*emptyPerCount + 2 {
				write(packet.Vnet{}, testFrame(200, 2))
				if m == Blocks {
					settle()
				}
				if n, err := q.Receive(f[:]); n == 1 {
					if !bytes.Equal(f[0].Bytes(), testFrame(200, 2)) {
						t.Fatalf("behind it came %d bytes", len(f[0].Bytes()))
					}
					q.Release()
					_, _ = q.Receive(f[:]) // what is to be told
					return
				} else if err != nil && !errors.Is(err, errJammed) {
					t.Fatal(err)
				}
			}
			t.Fatal("nothing came behind it")
		}
		for range 3 {
			write(packet.Vnet{}, testFrame(100, 1))
			if g := take(t, q, 1)[0]; !bytes.Equal(g.bytes, testFrame(100, 1)) {
				t.Fatal("the frame before it is another")
			}
			write(packet.Vnet{Flags: packet.VnetNeedsCsum, GSOType: packet.VnetGSOUDP, HdrLen: 42, GSOSize: 1480, CsumStart: 34, CsumOffset: 6}, ufo)
			behind()
		}
	})
}
