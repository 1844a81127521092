package sched

import (
	"hash/crc32"
	"net/netip"
	"slices"
	"testing"

	"github.com/dirigo-lb/dirigo/packet"
)

// Values computed by the kernel's hash_32 and hsiphash_1u32.
func TestFoldAndHash32(t *testing.T) {
	for _, c := range []struct {
		addr       string
		fold       uint32
		h8bit, h10 uint32
	}{
		{"192.168.1.1", 0xc0a80101, 136, 547},
		{"10.0.0.1", 0x0a000001, 39, 159},
		{"8.8.8.8", 0x08080808, 188, 754},
		{"203.0.113.7", 0xcb007107, 124, 499},
		{"198.51.100.9", 0xc6336409, 110, 442},
		{"2001:db8::1", 0x20010db9, 63, 252},
		{"2001:db8:1:2:3:4:5:6", 0x20060db8, 124, 498},
	} {
		a := netip.MustParseAddr(c.addr)
		x := fold(packet.AddrFrom(a), a.Is6())
		if x != c.fold || hash32(x, 8) != c.h8bit || hash32(x, 10) != c.h10 {
			t.Errorf("%s: fold %08x, hash32 %d and %d; want %08x, %d, %d",
				c.addr, x, hash32(x, 8), hash32(x, 10), c.fold, c.h8bit, c.h10)
		}
	}
	if got := hash32(40000+0xcb007107, 8); got != 32 {
		t.Errorf("hash32 of 203.0.113.7 and port 40000: %d, want 32", got)
	}
}

func TestHSipHash(t *testing.T) {
	for _, c := range []struct{ x, h1, slot, h2, step uint32 }{
		{0x00000000, 0x1d5a77c2, 2495, 0xf882433f, 860},
		{0x00000001, 0x16ec66b2, 979, 0x8210aad1, 1822},
		{0x0a000001, 0x03080ce4, 3711, 0x48f9d0c1, 966},
		{0xcb007107, 0xa86e2c15, 1705, 0x2837f961, 2530},
		{0x0a000051, 0x439c0cbe, 3167, 0x97b3dc47, 700},
		{0x0a000052, 0xa1cf683b, 1231, 0xfa5d46df, 3544},
		{0x0a000053, 0x2cdf0afa, 1631, 0xedeb33d0, 3453},
	} {
		h1, h2 := hsiphash(c.x, mhKey1), hsiphash(c.x, mhKey2)
		if h1 != c.h1 || h1%mhSlots != c.slot || h2 != c.h2 || h2%(mhSlots-1)+1 != c.step {
			t.Errorf("%08x: %08x slot %d, %08x step %d; want %08x slot %d, %08x step %d", c.x,
				h1, h1%mhSlots, h2, h2%(mhSlots-1)+1, c.h1, c.slot, c.h2, c.step)
		}
	}
}

// mhIDs is the table of an mh service with one byte for each slot: the server's number.
func mhIDs(v *service) (ids []byte) {
	t := v.Scheduler.(*mh).current()
	for _, slot := range t.slots {
		ids = append(ids, byte(v.id(t.servers[slot])))
	}
	return ids
}

// Tables of the kernel for 10.0.0.1:80, 10.0.0.2:80, 10.0.0.3:80 added in this order.
func TestMHTable(t *testing.T) {
	equal := []byte{1, 2, 2, 3, 3, 1, 2, 3, 3, 1, 1, 2, 2, 1, 1, 3, 2, 2, 1, 1, 3, 2, 3, 3, 2, 1, 2, 1, 1, 3, 3, 2, 1, 3, 3, 2, 3, 1, 3, 1}
	rising := []byte{3, 2, 2, 3, 3, 3, 2, 3, 3, 1, 1, 2, 2, 2, 1, 3, 2, 3, 3, 1, 3, 3, 3, 3, 2, 3, 2, 2, 1, 3, 3, 2, 1, 3, 3, 2, 3, 1, 3, 1}
	for _, c := range []struct {
		weights []int32
		count   [3]int
		first   []byte
		crc     uint32
	}{
		{[]int32{1, 1, 1}, [3]int{1364, 1364, 1365}, equal, 0x8b9c4b3c},
		{[]int32{1, 2, 3}, [3]int{682, 1364, 2047}, rising, 0x89467856},
		{[]int32{100, 200, 300}, [3]int{682, 1364, 2047}, rising, 0x89467856},
		{[]int32{1, 1000, 300}, [3]int{50, 3125, 918}, nil, 0},
	} {
		ids := mhIDs(newService(t, "mh", 0, Config{}).with(c.weights...))
		var count [3]int
		for _, id := range ids {
			count[id-1]++
		}
		if count != c.count || !slices.Equal(ids[:len(c.first)], c.first) {
			t.Errorf("%v: slots per server %v, want %v; first %v", c.weights, count, c.count, ids[:40])
		}
		if got := crc32.ChecksumIEEE(ids); c.crc != 0 && got != c.crc {
			t.Errorf("%v: crc %08x, want %08x", c.weights, got, c.crc)
		}
	}
}

func TestMHServerAddedWithWeight0HasNoSlot(t *testing.T) {
	v := newService(t, "mh", 0, Config{}).with(1, 0, 1)
	if ids := mhIDs(v); slices.Contains(ids, 2) || len(ids) != mhSlots {
		t.Errorf("%d slots, some are server 2's", len(ids))
	}
	v.edit(2, 1)
	if !slices.Contains(mhIDs(v), 2) {
		t.Error("no slot for server 2 after its weight came")
	}
}

// More servers than slots: adding keeps the table as it is, binding fails.
func TestMHTooManyServers(t *testing.T) {
	var servers []*Server
	for i := range mhSlots {
		servers = append(servers, server(i, 1))
	}
	s, err := New("mh", 0, servers)
	if err != nil {
		t.Fatal(err)
	}
	m := s.(*mh)
	before := m.current()
	extra := server(mhSlots, 1)
	m.Add(extra)
	if m.current() != before {
		t.Error("the table changed")
	}
	if _, err := New("mh", 0, m.servers()); err == nil {
		t.Error("bound with 4094 servers")
	}
	extra.Available.Store(false)
	m.Remove(extra)
	if m.current() == before {
		t.Error("the table was not rebuilt when the servers fitted again")
	}
	used := make(map[uint16]bool)
	for _, slot := range m.current().slots {
		used[slot] = true
	}
	if len(used) != mhSlots {
		t.Errorf("%d servers have a slot, want all %d", len(used), mhSlots)
	}
}

var clients = []string{"203.0.113.7", "198.51.100.9", "192.0.2.1", "192.0.2.2", "192.0.2.3", "8.8.8.8"}

// asked picks once for each client; as destination for dh, which reads that one.
func (v *service) asked() (ids []int) {
	for _, c := range clients {
		ids = append(ids, v.id(v.Pick(request(c, 40000, c))))
	}
	return ids
}

func TestDHLookups(t *testing.T) {
	v := newService(t, "dh", 0, Config{}).with(1, 1, 1)
	v.want("dh", v.asked(), []int{2, 1, 1, 2, 3, 1})
	v.edit(1, 7) // an edit does not move anyone
	v.want("dh, weight 7", v.asked(), []int{2, 1, 1, 2, 3, 1})
	v.edit(1, 0)
	v.want("dh, server 1 quiesced", v.asked(), []int{2, -1, -1, 2, 3, -1})
	v.edit(1, 1)
	v.servers[2].Overload.Store(true)
	v.want("dh, server 2 overloaded", v.asked(), []int{-1, 1, 1, -1, 3, 1})
	v.servers[3].Available.Store(false) // going, but not yet removed
	v.want("dh, server 3 going", v.asked(), []int{-1, 1, 1, -1, -1, 1})
}

func TestSHLookups(t *testing.T) {
	v := newService(t, "sh", 0, Config{}).with(1, 1, 1)
	v.want("equal weights", v.asked(), []int{2, 1, 1, 2, 3, 1})

	v = newService(t, "sh", 0, Config{}).with(1, 2, 5)
	v.want("weights 1,2,5", v.asked(), []int{3, 2, 3, 3, 2, 3})
	v.SetFlags(Flag2)
	v.want("sh-port", v.asked(), []int{3, 3, 2, 3, 3, 3})
	v.SetFlags(0)
	v.servers[3].Overload.Store(true)
	v.want("server 3 overloaded", v.asked(), []int{-1, 2, -1, -1, 2, -1})
	v.SetFlags(Flag1)
	v.want("sh-fallback", v.asked(), []int{2, 2, 2, 2, 2, 2})
}

// A server of weight 0 takes a bucket in each turn; the run is cut at the last bucket.
func TestSHBuckets(t *testing.T) {
	v := newService(t, "sh", 0, Config{}).with(0, 3)
	b := v.Scheduler.(*sh).table.Load()
	for i, s := range b {
		want := 2
		if i%4 == 3 {
			want = 1
		}
		if got := v.id(s); got != want {
			t.Fatalf("bucket %d: server %d, want %d", i, got, want)
		}
	}
	v.edit(2, 200)
	v.edit(1, 200)
	b = v.Scheduler.(*sh).table.Load()
	if v.id(b[199]) != 2 || v.id(b[200]) != 1 || v.id(b[255]) != 1 {
		t.Errorf("buckets 199, 200, 255: %d %d %d, want 2 1 1", v.id(b[199]), v.id(b[200]), v.id(b[255]))
	}
}

func TestMHLookups(t *testing.T) {
	v := newService(t, "mh", 0, Config{}).with(1, 1, 1)
	v.want("mh", v.asked(), []int{3, 1, 3, 2, 2, 2})
	v.SetFlags(Flag2)
	v.want("mh-port", v.asked(), []int{3, 1, 3, 3, 2, 3})
	v.SetFlags(0)
	before := mhIDs(v)
	v.edit(1, 0)
	v.want("server 1 quiesced", v.asked(), []int{3, -1, 3, 2, 2, 2})
	v.SetFlags(Flag1)
	v.want("mh-fallback", v.asked(), []int{3, 3, 3, 2, 2, 2})
	if !slices.Equal(before, mhIDs(v)) {
		t.Error("quiescing a server changed the table")
	}
	v.edit(2, 0)
	v.edit(3, 0)
	v.want("all quiesced", v.asked(), []int{-1, -1, -1, -1, -1, -1})
}

// sh-port and mh-port read ports of TCP, UDP and SCTP only.
func TestPortFlagsByProtocol(t *testing.T) {
	hasPorts := map[uint8]bool{
		packet.TCP: true, packet.UDP: true, packet.SCTP: true,
		packet.ICMP: false, packet.ESP: false, packet.AH: false,
	}
	for _, name := range []string{"sh", "mh"} {
		v := newService(t, name, Flag2, Config{}).with(1, 1, 1)
		for proto, want := range hasPorts {
			r := *anyone
			r.Proto = proto
			seen := make(map[*Server]bool)
			for r.SrcPort = 0; r.SrcPort < 50; r.SrcPort++ {
				seen[v.Pick(&r)] = true
			}
			if got := len(seen) > 1; got != want {
				t.Errorf("%s: protocol %d: the port matters: %v, want %v", name, proto, got, want)
			}
		}
	}
}

// Quiescing the heaviest server leaves the scale of the weights alone too.
func TestMHQuiescedServerStillSetsTheScale(t *testing.T) {
	v := newService(t, "mh", 0, Config{}).with(1, 1000, 300)
	before := mhIDs(v)
	v.edit(2, 0)
	if !slices.Equal(before, mhIDs(v)) {
		t.Error("the table changed")
	}
}

// The probes of mh-fallback as ip_vs_mh_get_fallback makes them: the hash of the
// client plus each slot number, counted from the client's own slot.
func TestMHFallbackProbes(t *testing.T) {
	v := newService(t, "mh", Flag1, Config{}).with(1, 2, 3, 4, 5)
	v.servers[2].Overload.Store(true)
	v.edit(5, 0)
	ids := mhIDs(v)
	fallbacks := 0
	for n := range uint32(500) {
		r := to(n*2654435761, 0)
		r.Src = r.Dst
		x := fold(r.Src, false)
		slot := hsiphash(x, mhKey1) % mhSlots
		want := ids[slot]
		for o := uint32(0); want == 2 || want == 5; o++ {
			want = ids[hsiphash(x+(o+slot)%mhSlots, mhKey1)%mhSlots]
			fallbacks++
		}
		if got := v.id(v.Pick(r)); got != int(want) {
			t.Fatalf("%v: got %d, want %d", r.Src, got, want)
		}
	}
	if fallbacks < 100 {
		t.Errorf("only %d probes", fallbacks)
	}
}
