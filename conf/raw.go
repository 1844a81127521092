package conf

// The file's spelling: every key of the language stands here once, and strings,
// numbers and lists stop here. What a key means is said in build.go, what it may be
// in validate.go, what it is when not written in defaults.go.

// value is a key's value as the decoder gave it.
type value struct {
	path    string
	v       any // string, int64, bool, float64, time.Time, []any, map[string]any, []map[string]any; nil when not written
	written bool
}

// openTable is a table whose keys are judged elsewhere.
type openTable map[string]value

type rawConfig struct {
	Director  rawDirector   `toml:"director"`
	Metrics   rawMetrics    `toml:"metrics"`
	API       rawAPI        `toml:"api"`
	Port      []rawPort     `toml:"port"`
	Route     []rawRoute    `toml:"route"`
	Neighbor  []rawNeighbor `toml:"neighbor"`
	Conntrack rawConntrack  `toml:"conntrack"`
	Sysctl    openTable     `toml:"sysctl"`
	Mark      []rawMark     `toml:"mark"`
	Check     openTable     `toml:"check"`
	Health    openTable     `toml:"health"`
	Service   []rawService  `toml:"service"`
}

type rawDirector struct {
	Name         value `toml:"name"`
	Workers      value `toml:"workers"`
	Control      value `toml:"control"`
	ControlGroup value `toml:"control_group"`
	FollowRoutes value `toml:"follow_routes"`
	Announce     value `toml:"announce"`
	HostPort     value `toml:"host_port"`
	Pin          value `toml:"pin"`
}

type rawPort struct {
	At        string
	Name      value `toml:"name"`
	Driver    value `toml:"driver"`
	Guard     value `toml:"guard"`
	Addresses value `toml:"addresses"`
	MAC       value `toml:"mac"`
	MTU       value `toml:"mtu"`
	RingSlots value `toml:"ring_slots"`
	Mode      value `toml:"mode"`
	Latency   value `toml:"latency"`
	BusyPoll  value `toml:"busy_poll"`
}

type rawRoute struct {
	At   string
	Dest value `toml:"dest"`
	Type value `toml:"type"`
	Via  value `toml:"via"`
	Port value `toml:"port"`
	Src  value `toml:"src"`
	MTU  value `toml:"mtu"`
}

type rawNeighbor struct {
	At      string
	Address value `toml:"address"`
	MAC     value `toml:"mac"`
	Port    value `toml:"port"`
}

type rawConntrack struct {
	MaxConnections value       `toml:"max_connections"`
	Timeouts       rawTimeouts `toml:"timeouts"`
}

type rawTimeouts struct {
	TCP    value `toml:"tcp"`
	TCPFin value `toml:"tcpfin"`
	UDP    value `toml:"udp"`
}

type rawMark struct {
	At          string
	Family      value `toml:"family"`
	Proto       value `toml:"proto"`
	Source      value `toml:"source"`
	Destination value `toml:"destination"`
	SPort       value `toml:"sport"`
	DPort       value `toml:"dport"`
	InPort      value `toml:"in_port"`
	Value       value `toml:"value"`
}

type rawService struct {
	At          string
	Name        value           `toml:"name"`
	Listen      value           `toml:"listen"`
	Fwmark      value           `toml:"fwmark"`
	Family      value           `toml:"family"`
	Scheduler   value           `toml:"scheduler"`
	Flags       value           `toml:"flags"`
	OnePacket   value           `toml:"one_packet"`
	Redispatch  value           `toml:"redispatch"`
	Forward     value           `toml:"forward"`
	Persistence *rawPersistence `toml:"persistence"`
	Server      []rawServer     `toml:"server"`
	Health      value           `toml:"health"`
	Check       []rawCheck      `toml:"check"`
}

type rawPersistence struct {
	At      string
	Timeout value `toml:"timeout"`
	Netmask value `toml:"netmask"`
	Engine  value `toml:"engine"`
}

type rawServer struct {
	At      string
	Name    value      `toml:"name"`
	Address value      `toml:"address"`
	Weight  value      `toml:"weight"`
	Forward value      `toml:"forward"`
	Upper   value      `toml:"upper"`
	Lower   value      `toml:"lower"`
	Tunnel  *rawTunnel `toml:"tunnel"`
	Check   []rawCheck `toml:"check"`
}

type rawTunnel struct {
	At       string
	Type     value `toml:"type"`
	Port     value `toml:"port"`
	Checksum value `toml:"checksum"`
}
