package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// mysql logs in to MySQL or MariaDB and asks a query, if there is one, that must give a
// row. Without a user it logs in as nobody, and being refused is good: a server counts
// the clients that leave after its greeting, and after max_connect_errors of them it
// would refuse the whole host. Client/Server Protocol, version 4.1 on.
type mysql struct {
	to                       target
	tls                      secrecy
	user, password, database string
	query                    string
}

// Capability flags, packet headers and commands: MySQL's include/mysql_com.h.
const (
	mysqlLongPassword    = 1 << 0
	mysqlLongFlag        = 1 << 2
	mysqlConnectWithDB   = 1 << 3
	mysqlProtocol41      = 1 << 9
	mysqlSSL             = 1 << 11
	mysqlTransactions    = 1 << 13
	mysqlSecure          = 1 << 15
	mysqlPluginAuth      = 1 << 19
	mysqlMaxPacket       = 1 << 24
	mysqlUTF8            = 33 // utf8_general_ci
	mysqlOK              = 0x00
	mysqlMoreData        = 0x01
	mysqlLocalInfile     = 0xfb
	mysqlEOF             = 0xfe // of a result; while logging in: another plugin
	mysqlError           = 0xff
	mysqlQuit            = 0x01
	mysqlQuery           = 0x03
	mysqlGreeting10      = 10
	mysqlLongestPassword = 200     // one byte says the length of a proof
	mysqlDeniedSQLState  = "28000" // invalid authorization specification
)

func newMySQL(p *conf.Probe, to target) (asker, error) {
	s, err := newSecrecy(p, p.TLS.Mode, to)
	if err == nil {
		err = nulSafe("user, password or database", p.User, p.Password, p.Database)
	}
	if err == nil && len(p.Password) > mysqlLongestPassword {
		err = fmt.Errorf("password: longer than %d bytes", mysqlLongestPassword)
	}
	return mysql{to, s, p.User, p.Password, p.Database, p.Query}, err
}

func (a mysql) ask(ctx context.Context, r *health.Result) error {
	k, err := a.to.open(ctx, &secrecy{}, r)
	if err != nil {
		return err
	}
	defer k.Close()
	m := mysqlTalk{talk: k}
	b, err := m.packet()
	if err != nil {
		return err
	}
	g, err := parseGreeting(b)
	if err != nil {
		return err
	}
	login := a.login(g.capabilities)
	if a.tls.mode != conf.TLSOff {
		if g.capabilities&mysqlSSL == 0 {
			return fail(health.WhyTLS, "the server has no TLS")
		}
		if err := m.send(login); err != nil { // so far, it asks for TLS
			return err
		}
		if err := k.encrypt(ctx, &a.tls, r); err != nil {
			return err
		}
		m.secret = true
	}
	err = m.authenticate(login, g, &a)
	if bad, is := err.(*mysqlFailure); is && bad.denied && a.user == "" {
		return nil
	}
	if err != nil {
		return err
	}
	if a.query != "" {
		err = m.query(a.query)
	}
	m.seq = 0
	m.send([]byte{mysqlQuit})
	return err
}

// login is the fixed part of the handshake response.
func (a *mysql) login(capabilities uint32) []byte {
	flags := uint32(mysqlLongPassword | mysqlLongFlag | mysqlProtocol41 | mysqlTransactions | mysqlSecure | mysqlPluginAuth)
	if a.tls.mode != conf.TLSOff {
		flags |= mysqlSSL
	}
	if a.database != "" {
		flags |= mysqlConnectWithDB
	}
	b := binary.LittleEndian.AppendUint32(nil, flags&capabilities|mysqlProtocol41|mysqlSecure)
	b = binary.LittleEndian.AppendUint32(b, mysqlMaxPacket)
	return append(append(b, mysqlUTF8), make([]byte, 23)...)
}

// mysqlTalk numbers the packets of an exchange.
type mysqlTalk struct {
	*talk
	seq    byte
	secret bool // encrypted: a password may go as it is
}

func (m *mysqlTalk) packet() ([]byte, error) {
	h, err := m.frame(4)
	if err != nil {
		return nil, err
	}
	if h[3] != m.seq {
		return nil, fail(health.WhyProtocol, "MySQL packet %d, want %d", h[3], m.seq)
	}
	m.seq++
	b, err := m.frame(int(h[0]) | int(h[1])<<8 | int(h[2])<<16)
	if err == nil && len(b) == 0 {
		err = fail(health.WhyProtocol, "an empty MySQL packet")
	}
	return b, err
}

func (m *mysqlTalk) send(b []byte) error {
	h := []byte{byte(len(b)), byte(len(b) >> 8), byte(len(b) >> 16), m.seq}
	m.seq++
	_, err := m.Conn.Write(append(h, b...))
	return err
}

// query wants at least one row (COM_QUERY, text protocol).
func (m *mysqlTalk) query(text string) error {
	m.seq = 0
	if err := m.send(append([]byte{mysqlQuery}, text...)); err != nil {
		return err
	}
	b, err := m.packet()
	if err != nil {
		return err
	}
	switch b[0] {
	case mysqlOK:
		return fail(health.WhyContent, "the query gives no rows")
	case mysqlError:
		return mysqlErrorOf(b, health.WhyStatus)
	case mysqlLocalInfile:
		return fail(health.WhyProtocol, "the server asks for a file")
	}
	for row := false; ; { // column definitions, EOF, rows
		if b, err = m.packet(); err != nil {
			return err
		}
		switch {
		case b[0] == mysqlError:
			return mysqlErrorOf(b, health.WhyStatus)
		case b[0] == mysqlEOF && len(b) < 9 && row:
			return fail(health.WhyContent, "the query gives no rows")
		case b[0] == mysqlEOF && len(b) < 9:
			row = true
		case row:
			return nil
		}
	}
}

// mysqlFailure tells a refused login from the rest.
type mysqlFailure struct {
	failure
	denied bool
}

func (f *mysqlFailure) Unwrap() error { return &f.failure }

// mysqlErrorOf reads an ERR packet: number, and with protocol 4.1 "#" and an SQL state.
func mysqlErrorOf(b []byte, why health.Why) error {
	if len(b) < 3 {
		return fail(health.WhyProtocol, "not a MySQL error: %s", quote(b))
	}
	number, text := binary.LittleEndian.Uint16(b[1:]), b[3:]
	f := &mysqlFailure{}
	if len(text) >= 6 && text[0] == '#' {
		f.denied = string(text[1:6]) == mysqlDeniedSQLState
		text = text[6:]
	}
	if f.denied {
		why = health.WhyLogin
	}
	f.failure = *fail(why, "MySQL error %d: %s", number, quote(text)).(*failure)
	return f
}

// greeting is what a login needs of the first packet.
type greeting struct {
	capabilities uint32
	nonce        []byte // 20 bytes
	plugin       string
}

// parseGreeting reads Protocol::HandshakeV10.
func parseGreeting(b []byte) (g greeting, err error) {
	if b[0] == mysqlError { // "too many connections", "host is blocked"
		return g, mysqlErrorOf(b, health.WhyStatus)
	}
	bad := fail(health.WhyProtocol, "not a MySQL greeting: %s", quote(b))
	version, rest, ok := bytes.Cut(b[1:], []byte{0})
	// thread id 4, nonce 8, filler 1, capabilities 2, charset 1, status 2, capabilities 2,
	// length of the nonce 1, reserved 10
	if b[0] != mysqlGreeting10 || !ok || len(version) == 0 || len(rest) < 31 {
		return g, bad
	}
	g.capabilities = uint32(binary.LittleEndian.Uint16(rest[13:])) | uint32(binary.LittleEndian.Uint16(rest[18:]))<<16
	if g.capabilities&mysqlProtocol41 == 0 || g.capabilities&mysqlSecure == 0 || len(rest) < 31+12 {
		return g, bad
	}
	g.nonce = append(append(g.nonce, rest[4:12]...), rest[31:31+12]...)
	g.plugin = mysqlNative
	if g.capabilities&mysqlPluginAuth != 0 {
		_, name, _ := bytes.Cut(rest[31+12:], []byte{0})
		name, _, _ = bytes.Cut(name, []byte{0})
		g.plugin = string(name)
	}
	return g, nil
}
