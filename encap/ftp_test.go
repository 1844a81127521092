package encap

import (
	"encoding/binary"
	"testing"

	"github.com/dirigo-lb/dirigo/packet"
)

// TestFTPConversationsAsTheKernel passes recorded control connections through what a
// director does with them: read, rewrite, shift, translate. All bytes must be the
// kernel's.
func TestFTPConversationsAsTheKernel(t *testing.T) {
	vip, server := addr("10.0.1.100"), addr("10.0.2.13")
	for _, c := range []struct {
		name  string
		steps []ftpStep
		verb  FTPVerb
		named FTPAddress
	}{
		{"passive", ftpPassive, FTPPasv, FTPAddress{At: 27, Len: 16, Addr: server, Port: 51220}},
		{"active", ftpActive, FTPPort, FTPAddress{At: 5, Len: 16, Addr: addr("192.0.2.7"), Port: 51210}},
	} {
		for _, partial := range []bool{false, true} {
			var verb FTPVerb
			var named FTPAddress
			var seq SeqAdjust
			for i, s := range c.steps {
				f := loadWithTail(t, unhex(t, s.in), 30)
				if partial {
					unfinishTCP(f)
				}
				if s.client {
					if v, a := ParseFTPCommand(TCPPayload(f), false); v != FTPNone {
						verb, named = v, a
					}
					seq.FixAck(f)
					Dest(f, server, 21)
				} else {
					sent := binary.BigEndian.Uint32(f.Buf[f.L4+4:])
					seq.FixSeq(f)
					if a, ok := ParseFTPReply(TCPPayload(f), verb, false); ok {
						named = a
						text := AppendFTPPasv(nil, vip, a.Port)
						if !Resize(f, a.At, a.Len, text) {
							t.Fatal("not resized")
						}
						seq.Resized(sent, len(text)-a.Len)
					}
					Source(f, vip, 21)
				}
				DecTTL(f)
				if partial {
					if !f.VerifyTransport() {
						t.Fatalf("%s %d: the unfinished checksum is wrong", c.name, i)
					}
					f.FinishChecksum()
				}
				checkFields(t, f)
				want := unhex(t, s.out)
				f.SetMACs((*packet.MAC)(want[:6]), (*packet.MAC)(want[6:12]))
				checkBytes(t, f.Bytes(), want, c.name)
			}
			if verb != c.verb || named != c.named {
				t.Errorf("%s: verb %d, %+v", c.name, verb, named)
			}
		}
	}
}

// loadWithTail is load with tail free bytes behind the frame.
func loadWithTail(t testing.TB, b []byte, tail int) *packet.Frame {
	f := load(t, b, true)
	f.Buf = append(f.Buf, make([]byte, tail)...)
	return f
}

// unfinishTCP replaces f's checksum by the sum of the pseudo-header, word by word.
func unfinishTCP(f *packet.Frame) {
	var b []byte
	if f.Flow.V6 {
		b = append(append(b, f.Flow.Src[:]...), f.Flow.Dst[:]...)
	} else {
		b = append(append(b, f.Flow.Src[12:]...), f.Flow.Dst[12:]...)
	}
	b = binary.BigEndian.AppendUint16(append(b, 0, 6), uint16(f.IPEnd-f.L4))
	binary.BigEndian.PutUint16(f.Buf[f.L4+16:], slowSum(b))
	f.Vnet = packet.Vnet{Flags: packet.VnetNeedsCsum, CsumStart: uint16(f.L4 - f.Start), CsumOffset: 16}
}

// The cases of ip_vs_ftp_in: RFC 959 and RFC 2428 commands, and what only looks like one.
func TestParseFTPCommand(t *testing.T) {
	six := addr("2001:db8::1:2")
	for _, c := range []struct {
		text string
		v6   bool
		verb FTPVerb
		a    FTPAddress
	}{
		{"PASV\r\n", false, FTPPasv, FTPAddress{}},
		{"pasV\r\n", false, FTPPasv, FTPAddress{}},
		{"TYPE I\r\nPASV\r\n", false, FTPPasv, FTPAddress{}},
		{"PORT 1,2,3,4,5,6\r\nPASV\r\n", false, FTPPasv, FTPAddress{}},
		{"PASV\r\n", true, FTPNone, FTPAddress{}},
		{"PASV\n", false, FTPNone, FTPAddress{}},
		{"PASV \r\n", false, FTPNone, FTPAddress{}},
		{"EPSV\r\n", false, FTPEpsv, FTPAddress{}},
		{"epsv\r\n", true, FTPEpsv, FTPAddress{}},
		{"EPSV\r", false, FTPNone, FTPAddress{}}, // six bytes at least
		{"EPSV 1\r\n", false, FTPEpsv, FTPAddress{}},
		{"EPSV 1\r", false, FTPEpsv, FTPAddress{}},
		{"EPSV 1", false, FTPNone, FTPAddress{}},
		{"EPSV 2\r\n", false, FTPNone, FTPAddress{}},
		{"EPSV 2\r\n", true, FTPEpsv, FTPAddress{}},
		{"EPSV 1\r\n", true, FTPNone, FTPAddress{}},
		{"EPSV ALL\r\n", false, FTPNone, FTPAddress{}},
		{"EPSV ALL\r\nPASV\r\n", false, FTPNone, FTPAddress{}}, // the kernel looks no further
		{"PORT 192,0,2,7,200,10\r\n", false, FTPPort, FTPAddress{5, 16, addr("192.0.2.7"), 51210}},
		{"port 192,0,2,7,200,10\n", false, FTPPort, FTPAddress{5, 16, addr("192.0.2.7"), 51210}},
		{"PORT   192,0,2,7,200,10\r\n", false, FTPPort, FTPAddress{7, 16, addr("192.0.2.7"), 51210}},
		{"PORT192,0,2,7,0,20\r\n", false, FTPPort, FTPAddress{4, 14, addr("192.0.2.7"), 20}},
		{"PORT 448,0,2,7,200,266\r\n", false, FTPPort, FTPAddress{5, 17, addr("192.0.2.7"), 51210}}, // modulo 256
		{"PORT 192,0,2,7,200,10", false, FTPNone, FTPAddress{}},
		{"PORT 192,0,2,7,200\r\n", false, FTPNone, FTPAddress{}},
		{"PORT 192,0,2,7,2 0,1\r\n", false, FTPNone, FTPAddress{}},
		{"PORT", false, FTPNone, FTPAddress{}},
		{"POR", false, FTPNone, FTPAddress{}},
		{" PORT 192,0,2,7,200,10\r\n", false, FTPNone, FTPAddress{}},
		{"PORT 192,0,2,7,200,10\r\n", true, FTPNone, FTPAddress{}},
		{"EPRT |1|192.0.2.7|51210|\r\n", false, FTPEprt, FTPAddress{5, 19, addr("192.0.2.7"), 51210}},
		{"eprt !1!192.0.2.7!51210!\r\n", false, FTPEprt, FTPAddress{5, 19, addr("192.0.2.7"), 51210}},
		{"EPRT |1|192.0.2.007|20|", false, FTPEprt, FTPAddress{5, 18, addr("192.0.2.7"), 20}},
		{"EPRT |2|2001:db8::1:2|5282|\r\n", true, FTPEprt, FTPAddress{5, 22, six, 5282}},               // RFC 2428 section 2
		{"EPRT |1|192.0.2.7|116746|\r\n", false, FTPEprt, FTPAddress{5, 20, addr("192.0.2.7"), 51210}}, // modulo 65536
		{"EPRT |2|192.0.2.7|51210|\r\n", false, FTPNone, FTPAddress{}},
		{"EPRT |1|192.0.2.7|51210|\r\n", true, FTPNone, FTPAddress{}},
		{"EPRT |2|fe80::1%lo|51210|\r\n", true, FTPNone, FTPAddress{}},
		{"EPRT |2|192.0.2.7|51210|\r\n", true, FTPNone, FTPAddress{}},
		{"EPRT |1|192.0.2|51210|\r\n", false, FTPNone, FTPAddress{}},
		{"EPRT |1|192.0.2.7.8|51210|\r\n", false, FTPNone, FTPAddress{}},
		{"EPRT |1|192.0.2.|51210|\r\n", false, FTPNone, FTPAddress{}},
		{"EPRT |1|192.0.256.7|51210|\r\n", false, FTPNone, FTPAddress{}},
		{"EPRT |1|192.0.2.7|0|\r\n", false, FTPNone, FTPAddress{}},
		{"EPRT |1|192.0.2.7||\r\n", false, FTPNone, FTPAddress{}},
		{"EPRT |1|192.0.2.7|51210\r\n", false, FTPNone, FTPAddress{}},
		{"EPRT |1|192.0.2.7|51210", false, FTPNone, FTPAddress{}},
		{"EPRT |1|192.0.2.7", false, FTPNone, FTPAddress{}},
		{"EPRT |||51210|\r\n", false, FTPNone, FTPAddress{}},
		{"EPRT |1", false, FTPNone, FTPAddress{}},
		{"", false, FTPNone, FTPAddress{}},
		{"USER anonymous\r\n", false, FTPNone, FTPAddress{}},
	} {
		if verb, a := ParseFTPCommand([]byte(c.text), c.v6); verb != c.verb || a != c.a {
			t.Errorf("%q, v6 %v: %d %+v, want %d %+v", c.text, c.v6, verb, a, c.verb, c.a)
		}
	}
}

func TestParseFTPReply(t *testing.T) {
	none := packet.Addr{}
	for _, c := range []struct {
		text string
		verb FTPVerb
		v6   bool
		want FTPAddress // Len 0: refused
	}{
		{"227 Entering Passive Mode (10,0,2,13,200,20).\r\n", FTPPasv, false, FTPAddress{27, 16, addr("10.0.2.13"), 51220}},
		{"227 Entering Passive Mode 10,0,2,13,200,20\r\n", FTPPasv, false, FTPAddress{26, 16, addr("10.0.2.13"), 51220}},
		{"227 =10,0,2,13,200,20\r\n", FTPPasv, false, FTPAddress{5, 16, addr("10.0.2.13"), 51220}},
		{"227 Entering Passive Mode (10,0,2,13,200,20", FTPPasv, false, FTPAddress{}},
		{"227 Entering Passive Mode (10,0,2,13)\r\n", FTPPasv, false, FTPAddress{}},
		{"227 Entering Passive Mode (", FTPPasv, false, FTPAddress{}},
		{"227-Entering\r\n", FTPPasv, false, FTPAddress{}},
		{"220 227 (10,0,2,13,200,20)\r\n", FTPPasv, false, FTPAddress{}},
		{"227 Entering Passive Mode (10,0,2,13,200,20).\r\n", FTPNone, false, FTPAddress{}},
		{"227 Entering Passive Mode (10,0,2,13,200,20).\r\n", FTPEpsv, false, FTPAddress{}},
		{"229 Entering Extended Passive Mode (|||6446|)\r\n", FTPEpsv, false, FTPAddress{36, 8, none, 6446}}, // RFC 2428 section 3
		{"229 Entering Extended Passive Mode (|||6446|)\r\n", FTPEpsv, true, FTPAddress{36, 8, none, 6446}},
		{"229 ok (###6446#)", FTPEpsv, true, FTPAddress{8, 8, none, 6446}},
		{"229 ok (|1|10.0.2.14|6446|)\r\n", FTPEpsv, false, FTPAddress{8, 18, addr("10.0.2.14"), 6446}},
		{"229 ok (|2|2001:db8:2::e|6446|)\r\n", FTPEpsv, true, FTPAddress{8, 22, addr("2001:db8:2::e"), 6446}},
		{"229 ok (|1||6446|)\r\n", FTPEpsv, false, FTPAddress{}},
		{"229 ok (||10.0.2.14|6446|)\r\n", FTPEpsv, false, FTPAddress{}},
		{"229 ok (|||6446)\r\n", FTPEpsv, false, FTPAddress{}},
		{"229 ok |||6446|\r\n", FTPEpsv, false, FTPAddress{}},
		{"229 ok (|||6446", FTPEpsv, false, FTPAddress{}},
		{"229 ok (|||", FTPEpsv, false, FTPAddress{}},
		{"229 ok (\x01\x01\x016446\x01)\r\n", FTPEpsv, false, FTPAddress{}},
		{"229 ok (|||6446|)\r\n", FTPPasv, false, FTPAddress{}},
	} {
		if a, ok := ParseFTPReply([]byte(c.text), c.verb, c.v6); a != c.want && ok || ok != (c.want.Len != 0) {
			t.Errorf("%q: %+v %v, want %+v", c.text, a, ok, c.want)
		}
	}
}

func TestFTPTexts(t *testing.T) {
	if got := string(AppendFTPPasv([]byte("("), addr("10.0.1.100"), 51220)); got != "(10,0,1,100,200,20" {
		t.Error(got)
	}
	if got := string(AppendFTPEpsv([]byte("("), 6446)); got != "(|||6446|" {
		t.Error(got)
	}
	buf := make([]byte, 0, 32)
	line, reply := []byte("PORT 192,0,2,7,200,10\r\n"), []byte("229 ok (|1|10.0.2.14|6446|)\r\n")
	if n := testing.AllocsPerRun(100, func() {
		ParseFTPCommand(line, false)
		ParseFTPReply(reply, FTPEpsv, false)
		buf = AppendFTPPasv(buf[:0], addrOfTest, 51220)
		buf = AppendFTPEpsv(buf[:0], 51220)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

var addrOfTest = v4(10, 0, 1, 100)

// FuzzFTP: no text makes the parsers panic or name a place outside it; what is written
// is read again as it was.
func FuzzFTP(f *testing.F) {
	for _, s := range []string{"PASV\r\n", "EPSV 2\r\n", "PORT 192,0,2,7,200,10\r\n", "EPRT |2|::1|5282|\r\n",
		"227 (1,2,3,4,5,6)\r\n", "229 (|||6446|)\r\n", "229 (|1|1.2.3.4|6446|)\r\n"} {
		f.Add([]byte(s), uint16(6446))
	}
	f.Fuzz(func(t *testing.T, b []byte, port uint16) {
		for _, v6 := range []bool{false, true} {
			verb, a := ParseFTPCommand(b, v6)
			checkPlace(t, b, a, verb >= FTPPort)
			for _, verb := range []FTPVerb{FTPPasv, FTPEpsv} {
				a, ok := ParseFTPReply(b, verb, v6)
				checkPlace(t, b, a, ok)
			}
		}
		var from packet.Addr
		copy(from[12:], b)
		from = packet.AddrFrom4(from.As4())
		line := append(AppendFTPPasv([]byte("227 x ("), from, port), ')')
		if a, ok := ParseFTPReply(line, FTPPasv, false); !ok || a.Addr != from || a.Port != port || a.Len != len(line)-8 {
			t.Fatalf("%q: %+v", line, a)
		}
		line = append(AppendFTPEpsv([]byte("229 x ("), port), ')')
		if a, ok := ParseFTPReply(line, FTPEpsv, true); ok != (port != 0) || ok && (a.Port != port || a.Len != len(line)-8) {
			t.Fatalf("%q: %+v", line, a)
		}
	})
}

func checkPlace(t *testing.T, b []byte, a FTPAddress, ok bool) {
	t.Helper()
	if ok && (a.At < 4 || a.Len < 5 || a.At+a.Len > len(b)) {
		t.Fatalf("%q: %+v", b, a)
	}
}
