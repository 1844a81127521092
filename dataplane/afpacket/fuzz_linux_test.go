package afpacket

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dirigo-lb/dirigo/packet"
)

// Whatever a slot says of itself, it is either lent as a frame within it, with its
// headroom, or skipped.
func FuzzReadSlot(f *testing.F) {
	slot := func(status, length, snap uint32, mac, tci, tpid uint16, kind byte, size int) []byte {
		b := make([]byte, size)
		h := slotHeader(b)
		h.Status, h.Len, h.Snaplen, h.Mac, h.Vlan_tci, h.Vlan_tpid = status, length, snap, mac, tci, tpid
		b[slotPkt] = kind
		return b
	}
	f.Add(slot(1, 60, 60, 146, 0, 0, 0, 2048))
	f.Add(slot(1, 60, 60, 146, 0, 0, unix.PACKET_OUTGOING, 2048))
	f.Add(slot(0x51, 60, 60, 146, 5, 0x8100, 0, 2048))
	f.Add(slot(0x51, 60, 60, 146, 0xe000, 0x8100, 0, 2048))
	f.Add(slot(1, 9000, 1902, 146, 0, 0, 0, 2048))
	f.Add(slot(1, 60, 60, 10, 0, 0, 0, 2048))
	f.Add(slot(1, 60, 60, 0xffff, 0, 0, 0, 2048))
	f.Add(slot(1, 0xffffffff, 0xffffffff, 146, 0, 0, 0, 2048))
	f.Add(slot(1, 0, 0, 146, 0, 0, 0, 2048))
	super := slot(9, 200, 200, 146, 0, 0, 0, 2048)
	putVnet(super[136:], packet.Vnet{Flags: 1, GSOType: 1, GSOSize: 100, CsumStart: 34, CsumOffset: 16})
	f.Add(super)
	f.Fuzz(func(t *testing.T, in []byte) {
		b := make([]byte, max(len(in), minSlotSize)) // newRing gives no smaller slot
		copy(b, in)
		h := slotHeader(b)
		before := bytes.Clone(b)
		var fr packet.Frame
		v := readSlot(b, h, h.Status, &fr)
		if !bytes.Equal(b, before) {
			t.Fatal("reading changed the slot")
		}
		if v != lent {
			if fr.Buf != nil {
				t.Fatalf("skipped (%d) and lent", v)
			}
			return
		}
		if fr.Start < packet.Headroom+vnetLen || int(fr.End-fr.Start) != int(h.Snaplen) || h.Snaplen < h.Len {
			t.Fatalf("frame [%d:%d] of a slot with snaplen %d, length %d", fr.Start, fr.End, h.Snaplen, h.Len)
		}
		if want := b[h.Mac:][:h.Snaplen]; !bytes.Equal(fr.Bytes(), want) {
			t.Fatal("the frame is elsewhere")
		}
		if b[slotPkt] == unix.PACKET_OUTGOING {
			t.Fatal("an outgoing frame is lent")
		}
	})
}

// A frame goes out with the offloads it came with; only DATA_VALID is not repeated.
func FuzzVnet(f *testing.F) {
	f.Add([]byte{1, 1, 66, 0, 0xa8, 5, 34, 0, 16, 0}, make([]byte, 80))
	f.Add([]byte{3, 0x84, 86, 0, 0x94, 5, 54, 0, 16, 0}, make([]byte, 100))
	f.Add([]byte{1, 5, 0xff, 0xff, 0, 5, 0xff, 0xff, 6, 0}, []byte{})
	f.Add([]byte{1, 1, 0, 0, 0, 5, 60, 0, 16, 0}, make([]byte, 79))
	f.Fuzz(func(t *testing.T, hdr, frame []byte) {
		if len(hdr) < vnetLen {
			return
		}
		hdr = hdr[:vnetLen]
		v := getVnet(hdr)
		var out [vnetLen]byte
		putVnet(out[:], v)
		if out[0] != hdr[0]&packet.VnetNeedsCsum || !bytes.Equal(out[1:], hdr[1:]) {
			t.Fatalf("%x became %x", hdr, out)
		}
		if n := headerLen(frame, v); n != v.HdrLen && int(n) > len(frame) {
			t.Fatalf("%d bytes of headers in a frame of %d", n, len(frame))
		}
	})
}

func TestHeaderLen(t *testing.T) {
	tcp := func(start, doff int) []byte {
		b := make([]byte, 1000)
		b[start+12] = byte(doff << 4)
		return b
	}
	for _, c := range []struct {
		name  string
		frame []byte
		v     packet.Vnet
		want  uint16
	}{
		{"TCP over IPv4", tcp(34, 5), packet.Vnet{Flags: 1, GSOType: packet.VnetGSOTCPv4, CsumStart: 34, HdrLen: 900}, 54},
		{"TCP over IPv6, options", tcp(54, 8), packet.Vnet{Flags: 1, GSOType: packet.VnetGSOTCPv6, CsumStart: 54, HdrLen: 900}, 86},
		{"ECN", tcp(34, 5), packet.Vnet{Flags: 1, GSOType: packet.VnetGSOTCPv4 | packet.VnetGSOECN, CsumStart: 34, HdrLen: 900}, 54},
		{"UDP", tcp(34, 5), packet.Vnet{Flags: 1, GSOType: packet.VnetGSOUDPL4, CsumStart: 34, HdrLen: 900}, 42},
		{"no start told", tcp(34, 5), packet.Vnet{GSOType: packet.VnetGSOTCPv4, CsumStart: 34, HdrLen: 900}, 900},
		{"unknown", tcp(34, 5), packet.Vnet{Flags: 1, GSOType: 9, CsumStart: 34, HdrLen: 900}, 900},
		{"start outside", tcp(34, 5), packet.Vnet{Flags: 1, GSOType: packet.VnetGSOTCPv4, CsumStart: 990, HdrLen: 900}, 900},
		{"options outside", tcp(34, 15)[:60], packet.Vnet{Flags: 1, GSOType: packet.VnetGSOTCPv4, CsumStart: 34, HdrLen: 50}, 50},
	} {
		if got := headerLen(c.frame, c.v); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
