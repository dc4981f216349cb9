-- Wireshark dissector of explicit multicast (RFC 5058): the Xcast4 header, the Xcast6 routing
-- header with its ports option, tunnels over UDP and semi-permeable tunnels. The formats and the
-- names of what can be wrong are those of WIRE.md.
--
-- It adds one tree, `xcast`, to a packet, hands what follows an Xcast4 header to the dissector of
-- its protocol, and leaves an IPv6 packet's further headers to Wireshark. Needs Wireshark 4.0.

local xcast = Proto("xcast", "Explicit Multicast")
-- Wireshark gives a Proto one dissector; these three only carry further ones.
local xcast6 = Proto("xcast6", "Explicit Multicast, IPv6 Routing Header")
local tunnel = Proto("xcast_tunnel", "Explicit Multicast, UDP Tunnel")
local options = Proto("xcast_options", "Explicit Multicast, IPv6 Options")

-- Preferences ------------------------------------------------------------------------------------

local EXPERIMENT = " Preset to a value that RFC 4727 reserves for experiments; 0 is off."
xcast.prefs.ip_protocol = Pref.uint("IPv4 protocol", 253, "Protocol of Xcast4." .. EXPERIMENT)
xcast.prefs.routing_type =
  Pref.uint("IPv6 routing type", 253, "Routing Type of Xcast6." .. EXPERIMENT)
xcast.prefs.ports_option =
  Pref.uint("Ports option", 0x5e, "IPv6 destination option with the ports." .. EXPERIMENT)
xcast.prefs.hop_by_hop_option =
  Pref.uint("Hop-by-hop option", 0x1e, "IPv6 option of semi-permeable tunnels." .. EXPERIMENT)
xcast.prefs.tunnel_port = Pref.uint("Tunnel port", 1021, "UDP port of tunnels." .. EXPERIMENT)

local bindings = {
  { table = "ip.proto", preference = "ip_protocol", proto = xcast, most = 255 },
  { table = "ipv6.routing.type", preference = "routing_type", proto = xcast6, most = 255 },
  { table = "udp.port", preference = "tunnel_port", proto = tunnel, most = 65535 },
}

-- Registers the dissectors at the values the preferences have now.
local function bind()
  for _, binding in ipairs(bindings) do
    local value = xcast.prefs[binding.preference]
    local dissectors = DissectorTable.get(binding.table)
    if binding.value then dissectors:remove(binding.value, binding.proto) end
    binding.value = value > 0 and value <= binding.most and value or nil
    if binding.value then dissectors:add(binding.value, binding.proto) end
  end
end

xcast.prefs_changed = bind

-- Fields -----------------------------------------------------------------------------------------

local DSCP = {
  [0] = "default", [1] = "LE", [8] = "CS1", [16] = "CS2", [24] = "CS3", [32] = "CS4", [40] = "CS5",
  [48] = "CS6", [56] = "CS7", [10] = "AF11", [12] = "AF12", [14] = "AF13", [18] = "AF21",
  [20] = "AF22", [22] = "AF23", [26] = "AF31", [28] = "AF32", [30] = "AF33", [34] = "AF41",
  [36] = "AF42", [38] = "AF43", [44] = "VA", [46] = "EF",
}
local PROTOCOLS = {
  [1] = "ICMP", [4] = "IPv4", [6] = "TCP", [17] = "UDP", [33] = "DCCP", [41] = "IPv6", [50] = "ESP",
  [51] = "AH", [58] = "ICMPv6", [132] = "SCTP", [136] = "UDP-Lite",
}
local STATUS = { [0] = "Bad", [1] = "Good", [2] = "Unverified" }
local BAD, GOOD, UNVERIFIED = 0, 1, 2

local f = {
  version = ProtoField.uint8("xcast.version", "Version", base.DEC, nil, 0xf0),
  anonymous = ProtoField.bool("xcast.flags.a", "A, addresses not live are hidden", 8, nil, 0x08),
  keep_xcast = ProtoField.bool("xcast.flags.x", "X, never becomes unicast", 8, nil, 0x04),
  ds_bytes = ProtoField.bool("xcast.flags.d", "D, has DS bytes", 8, nil, 0x02),
  ports = ProtoField.bool("xcast.flags.p", "P, has ports", 8, nil, 0x01),
  reserved_p = ProtoField.uint8("xcast.reserved.p", "Reserved, P in Xcast4", base.DEC, nil, 0x01),
  reserved_r = ProtoField.uint8("xcast.reserved.r", "Reserved", base.DEC, nil, 0x80),
  count = ProtoField.uint8("xcast.destinations.count", "Destinations listed", base.DEC, nil, 0x7f),
  checksum = ProtoField.uint16("xcast.checksum", "Checksum", base.HEX),
  status = ProtoField.uint8("xcast.checksum.status", "Checksum status", base.DEC, STATUS),
  channel = ProtoField.bytes("xcast.channel", "Channel identifier"),
  protocol = ProtoField.uint8("xcast.protocol", "Protocol", base.DEC, PROTOCOLS),
  length = ProtoField.uint8("xcast.length", "Length in words", base.DEC),
  reserved = ProtoField.uint16("xcast.reserved", "Reserved", base.HEX),
  bitmap = ProtoField.bytes("xcast.bitmap", "Bitmap"),
  live = ProtoField.uint8("xcast.live", "Live destinations", base.DEC),
  malformed = ProtoField.string("xcast.malformed", "Malformed"),
  destinations = ProtoField.none("xcast.destinations", "Destinations"),
  -- Two names, as filters on a name of two types compare octets of the wrong type.
  destination = ProtoField.ipv4("xcast.destination", "Destination"),
  destination_live = ProtoField.ipv4("xcast.destination.live", "Live destination"),
  destination6 = ProtoField.ipv6("xcast.destination6", "Destination"),
  destination6_live = ProtoField.ipv6("xcast.destination6.live", "Live destination"),
  dscp = ProtoField.uint8("xcast.destination.dscp", "DSCP", base.DEC, DSCP, 0xfc),
  port = ProtoField.uint16("xcast.destination.port", "Port", base.DEC),
  ports_option = ProtoField.none("xcast.ports_option", "Ports option"),
  semi_permeable = ProtoField.bool("xcast.semi_permeable", "Semi-permeable tunnel"),
  tunnel = ProtoField.string("xcast.tunnel", "Tunnel"),
  control = ProtoField.bytes("xcast.tunnel.control", "Control message"),
}
xcast.fields = f

local experts = {
  malformed = ProtoExpert.new(
    "xcast.expert.malformed", "Malformed Xcast", expert.group.MALFORMED, expert.severity.ERROR),
  checksum = ProtoExpert.new(
    "xcast.expert.checksum", "Bad Xcast checksum", expert.group.CHECKSUM, expert.severity.ERROR),
  truncated = ProtoExpert.new(
    "xcast.expert.truncated", "Xcast header not captured whole", expert.group.UNDECODED,
    expert.severity.NOTE),
  depth = ProtoExpert.new(
    "xcast.expert.depth", "Nested too deep to be followed", expert.group.UNDECODED,
    expert.severity.WARN),
}
xcast.experts = experts

local field_next = Field.new("ipv6.routing.nxt")
local field_segments_left = Field.new("ipv6.routing.segleft")
local field_hop_by_hop = Field.new("ipv6.hopopts")
local field_destination_options = Field.new("ipv6.dstopts")

-- The two headers --------------------------------------------------------------------------------

-- Both begin alike once the Routing header's first four octets are left aside, as Wireshark does:
-- version and flags, number of destinations, checksum, channel. Lengths are in octets.
local XCAST4 = {
  name = "Xcast4", before = 0, channel = 4, bitmap_at = 12, unit = 4, address = 4,
  has_ports = true,
  destination = f.destination, live = f.destination_live,
  show = function(octets) return tostring(octets:ipv4()) end,
}
local XCAST6 = {
  name = "Xcast6", before = 4, channel = 16, bitmap_at = 20, unit = 8, address = 16,
  has_ports = false,
  destination = f.destination6, live = f.destination6_live,
  show = function(octets) return tostring(octets:ipv6()) end,
}

local function padded(length, unit) return math.ceil(length / unit) * unit end

local function flag(tvb, bit) return tvb(0, 1):bitfield(bit, 1) == 1 end

-- Where everything stands, from the number of destinations and the flags.
local function lay_out(form, tvb)
  local count = tvb(1, 1):bitfield(1, 7)
  local at = { count = count, bitmap = form.bitmap_at }
  at.addresses = at.bitmap + padded(count, form.unit * 8) / 8
  at.finish = at.addresses + count * form.address
  if flag(tvb, 6) then
    at.ds_bytes = at.finish
    at.finish = at.finish + padded(count, form.unit)
  end
  if form.has_ports and flag(tvb, 7) then
    at.ports = at.finish
    at.finish = at.finish + padded(2 * count, form.unit)
  end
  return at
end

local function is_live(tvb, at, index)
  return tvb(at.bitmap + math.floor(index / 8), 1):bitfield(index % 8, 1) == 1
end

-- Counts the set bits from one index of the bitmap to before another.
local function count_live(tvb, at, from, to)
  local live = 0
  for index = from, to - 1 do
    if is_live(tvb, at, index) then live = live + 1 end
  end
  return live
end

-- What the checksum should be; `before` is the sum of the words in front of `tvb`.
local function right_checksum(tvb, length, before)
  local sum = before
  for offset = 0, length - 2, 2 do
    if offset ~= 2 then sum = sum + tvb(offset, 2):uint() end
  end
  while sum > 0xffff do sum = sum % 0x10000 + math.floor(sum / 0x10000) end
  return 0xffff - sum
end

-- Judges a header by WIRE.md R1, first failure first. The result has
--   reason, why   what is wrong: its name, and a sentence; none where nothing is
--   truncated     the header is longer than what was captured or quoted, so not all was judged
--   at            as `lay_out` says, if it could be told
--   live          how many destinations are live, if the bitmap is there
--   right, status the checksum that would be right; good, bad or unverified
-- `stated` tells the length the header says it has, `before` the sum of the words in front of it
-- (nil if unknown), `broken` why it would be wrong in length whatever it holds.
local function judge(form, tvb, quoted, header)
  local verdict = { status = UNVERIFIED }
  local function wrong(reason, why, ...)
    if not verdict.reason and not verdict.truncated then
      verdict.reason, verdict.why = reason, why:format(...)
    end
  end
  local function missing(length)
    if tvb:len() >= length then return false end
    if quoted or tvb:reported_len() >= length then
      verdict.truncated = true
    else
      wrong("length", "%d octets are missing", length - tvb:len())
    end
    return true
  end

  if missing(1) then return verdict end
  local version = tvb(0, 1):bitfield(0, 4)
  if version ~= 1 then
    wrong("version", "%d, not 1", version)
    return verdict
  end
  if tvb:len() >= 2 then verdict.at = lay_out(form, tvb) end
  if missing(form.bitmap_at) then return verdict end

  local at, stated = verdict.at, header.stated()
  if header.broken then wrong("length", header.broken) end
  if stated ~= at.finish then
    local why = "%d octets, but %d destinations and the flags imply %d"
    wrong("length", why, stated + form.before, at.count, at.finish + form.before)
  end
  if tvb:len() >= at.addresses then verdict.live = count_live(tvb, at, 0, at.count) end
  if missing(stated) or verdict.reason then return verdict end

  if header.before then
    verdict.right = right_checksum(tvb, stated, header.before)
    verdict.status = tvb(2, 2):uint() == verdict.right and GOOD or BAD
    -- 0 and 0xffff are the same number in ones' complement.
    if verdict.right == 0 and tvb(2, 2):uint() == 0xffff then verdict.status = GOOD end
    if verdict.status == BAD then
      wrong("checksum", "0x%04x, should be 0x%04x", tvb(2, 2):uint(), verdict.right)
    end
  end
  if at.count == 0 then wrong("no-destination", "the list is empty") end
  if count_live(tvb, at, at.count, (at.addresses - at.bitmap) * 8) > 0 then
    wrong("spare-bits", "a bit behind the last destination's is set")
  end
  if verdict.live == 0 then wrong("no-live-destination", "no bit of the bitmap is set") end
  return verdict
end

-- Trees ------------------------------------------------------------------------------------------

-- Adds fields of fixed places, leaving out those that were not captured.
local function add_places(tree, tvb, places)
  for _, place in ipairs(places) do
    local field, offset, length = place[1], place[2], place[3]
    if tvb:len() >= offset + length then tree:add(field, tvb(offset, length)) end
  end
end

local function add_malformed(tree, range, reason, why)
  tree:add(f.malformed, range, reason):append_text(" (" .. why .. ")"):set_generated()
  local kind = reason == "checksum" and experts.checksum or experts.malformed
  tree:add_proto_expert_info(kind, ("Xcast malformed, %s: %s"):format(reason, why))
end

local function add_head(tree, form, tvb, verdict)
  add_places(tree, tvb, {
    { f.version, 0, 1 }, { f.anonymous, 0, 1 }, { f.keep_xcast, 0, 1 }, { f.ds_bytes, 0, 1 },
    { form.has_ports and f.ports or f.reserved_p, 0, 1 },
    { f.reserved_r, 1, 1 }, { f.count, 1, 1 },
  })
  if tvb:len() >= 4 then
    local checksum = tree:add(f.checksum, tvb(2, 2))
    local status = ({ [GOOD] = "good", [BAD] = "bad", [UNVERIFIED] = "unverified" })[verdict.status]
    checksum:append_text(" [" .. status .. "]")
    checksum:add(f.status, tvb(2, 2), verdict.status):set_generated()
  end
  add_places(tree, tvb, { { f.channel, 4, form.channel } })
  if form == XCAST4 then
    add_places(tree, tvb, { { f.protocol, 8, 1 }, { f.length, 9, 1 }, { f.reserved, 10, 2 } })
  end
end

-- One item a destination, as far as the list was captured and lies inside the header. Returns the
-- addresses as text, and the live ones apart.
local function add_destinations(tree, form, tvb, verdict, stated)
  local at, all, live = verdict.at, {}, {}
  local finish = math.min(tvb:len(), stated)
  if finish < at.addresses or at.count == 0 then return all, live end
  tree:add(f.bitmap, tvb(at.bitmap, at.addresses - at.bitmap))
  tree:add(f.live, tvb(at.bitmap, at.addresses - at.bitmap), verdict.live):set_generated()
  local lists = tvb(at.addresses, math.min(at.finish, finish) - at.addresses)
  local list = tree:add(f.destinations, lists)
  list:set_text(("Destinations: %d of %d live"):format(verdict.live, at.count))
  for index = 0, at.count - 1 do
    local offset = at.addresses + index * form.address
    if offset + form.address > finish then break end
    local octets = tvb(offset, form.address)
    local shown = form.show(octets)
    local lives = is_live(tvb, at, index)
    local item = list:add(form.destination, octets)
    item:set_text(("%d: %s, %s"):format(index, shown, lives and "live" or "not live"))
    all[#all + 1] = shown
    if lives then
      live[#live + 1] = shown
      item:add(form.live, octets)
    end
    if at.ds_bytes and at.ds_bytes + index < finish then
      local octet = tvb(at.ds_bytes + index, 1)
      local dscp = octet:bitfield(0, 6)
      item:add(f.dscp, octet)
      item:append_text(", " .. (DSCP[dscp] or "DSCP " .. dscp))
    end
    if at.ports and at.ports + 2 * index + 2 <= finish then
      local octet_pair = tvb(at.ports + 2 * index, 2)
      item:add(f.port, octet_pair)
      item:append_text(", port " .. octet_pair:uint())
    end
  end
  return all, live
end

local SHOWN_MAX = 4

local function summary(form, tvb, verdict, live)
  if verdict.reason then return "Xcast malformed: " .. verdict.reason end
  if not verdict.live then return "Xcast truncated" end
  local text = ("Xcast %d/%d live"):format(verdict.live, verdict.at.count)
  if #live > 0 then text = text .. " " .. table.concat(live, " ", 1, math.min(#live, SHOWN_MAX)) end
  if verdict.live > SHOWN_MAX then text = text .. " ..." end
  local flags = ""
  for index, name in ipairs({ "A", "X", "D", form.has_ports and "P" or "" }) do
    if flag(tvb, 3 + index) then flags = flags .. name end
  end
  return flags == "" and text or text .. " (" .. flags .. ")"
end

-- Adds the tree of a header. Returns the verdict and the addresses as text.
local function add_header(form, tvb, pinfo, tree, header)
  local verdict = judge(form, tvb, pinfo.in_error_pkt, header)
  local whole = verdict.at and tvb:len() >= form.bitmap_at
  local stated = whole and header.stated() or tvb:len()
  local range = tvb(0, math.min(tvb:len(), stated))
  local item = tree:add(xcast, range)
  local all, live = {}, {}
  if verdict.at then
    add_head(item, form, tvb, verdict)
    all, live = add_destinations(item, form, tvb, verdict, stated)
  else
    item:add(f.version, tvb(0, 1))
  end
  if verdict.reason then add_malformed(item, range, verdict.reason, verdict.why) end
  if verdict.truncated then item:add_proto_expert_info(experts.truncated) end

  local text = summary(form, tvb, verdict, live)
  item:set_text(form.name .. text:sub(#"Xcast" + 1))
  pinfo.cols.protocol = form.name
  -- The dissectors of what follows write behind the fence.
  pinfo.cols.info = text .. " | "
  pinfo.cols.info:fence()
  return verdict, all
end

-- Handing on -------------------------------------------------------------------------------------

-- WIRE.md allows four tunnels in each other. Lua itself would give up at some fifty.
local DEPTH_MAX = 10
local depth = 0

-- Calls a dissector on the rest of a packet. What goes wrong in there has been shown in the tree
-- by Wireshark when it comes out here as a Lua error.
local function hand_on(tree, call)
  if depth >= DEPTH_MAX then
    tree:add_proto_expert_info(experts.depth)
    return true
  end
  depth = depth + 1
  local _, taken = pcall(call)
  depth = depth - 1
  return taken ~= 0
end

function xcast.dissector(tvb, pinfo, tree)
  -- Table ip.proto serves IPv6 too, where this number is not Xcast.
  if tostring(pinfo.net_src):find(":", 1, true) or tvb:len() == 0 then return 0 end
  local stated = function() return 4 * tvb(9, 1):uint() end
  local verdict = add_header(XCAST4, tvb, pinfo, tree, { stated = stated, before = 0 })
  local headless = verdict.truncated or verdict.reason == "version" or verdict.reason == "length"
  if headless or tvb:len() <= stated() then return tvb:len() end
  local rest = tvb(stated()):tvb()
  local protocol = tvb(8, 1):uint()
  local taken = protocol ~= xcast.prefs.ip_protocol and hand_on(tree, function()
    return DissectorTable.get("ip.proto"):try(protocol, rest, pinfo, tree)
  end)
  if not taken then Dissector.get("data"):call(rest, pinfo, tree) end
  return tvb:len()
end

-- The Xcast6 headers of the frame at hand, by the offset of what follows them: the postdissector
-- finds the addresses there that the ports of an option belong to.
local headers = {}

-- Wireshark has shown the Routing header's first four octets, and passes on what is behind them.
function xcast6.dissector(tvb, pinfo, tree)
  if tvb:len() == 0 then return 0 end
  local nexts, segments_left = { field_next() }, { field_segments_left() }
  local header = { stated = function() return tvb:reported_len() end }
  if #nexts > 0 and #segments_left > 0 then
    local left = segments_left[#segments_left].value
    if left ~= 0 then header.broken = ("octet 3 is %d, not 0"):format(left) end
    local length = (tvb:reported_len() + 4) / 8 - 1
    header.before = nexts[#nexts].value * 256 + length + xcast.prefs.routing_type * 256 + left
  end
  local verdict, all = add_header(XCAST6, tvb, pinfo, tree, header)
  if not verdict.reason and not verdict.truncated then
    headers[tvb:offset() + tvb:len()] = all
  end
  return tvb:len()
end

function tunnel.dissector(tvb, pinfo, tree)
  if tvb:len() == 0 then return 0 end
  local nibble = tvb(0, 1):bitfield(0, 4)
  local kind = ({ [0] = "control", [4] = "ipv4", [6] = "ipv6" })[nibble] or "unknown"
  local item = tree:add(xcast, tvb(), "Xcast tunnel over UDP, " .. kind)
  item:add(f.tunnel, tvb(0, 1), kind):set_generated()
  pinfo.cols.protocol = "Xcast tunnel"
  local inner = ({ ipv4 = "ip", ipv6 = "ipv6" })[kind]
  if inner then
    hand_on(item, function() return Dissector.get(inner):call(tvb, pinfo, tree) end)
  elseif kind == "control" then
    pinfo.cols.info = ("Xcast tunnel control, %d octets"):format(tvb:len())
    item:add(f.control, tvb())
  end
  return tvb:len()
end

-- IPv6 options -----------------------------------------------------------------------------------

-- The data of all options of a kind in a Hop-by-Hop or Destination Options header, and whether the
-- options could be told apart up to the header's end.
local function find_options(header, kind)
  local found, at = {}, 2
  if kind == 0 then return found, true end
  while at < header:len() do
    local pad1 = header(at, 1):uint() == 0
    if not pad1 and at + 2 > header:len() then return found, false end
    local length = pad1 and 1 or 2 + header(at + 1, 1):uint()
    if at + length > header:len() then return found, false end
    if header(at, 1):uint() == kind then found[#found + 1] = header(at, length) end
    at = at + length
  end
  return found, true
end

local function add_ports(tree, option, addresses)
  local count = math.floor((option:len() - 2) / 2)
  local item = tree:add(xcast, option, ("Xcast6 ports: %d"):format(count))
  local list = item:add(f.ports_option, option)
  for index = 0, count - 1 do
    local port = option(2 + 2 * index, 2)
    local shown = addresses[index + 1] or "no destination"
    list:add(f.port, port):set_text(("%d: %s, port %d"):format(index, shown, port:uint()))
  end
  if option:len() - 2 ~= 2 * #addresses then
    local why = "the ports option has %d octets for %d destinations"
    add_malformed(item, option, "length", why:format(option:len() - 2, #addresses))
  end
end

-- Looks at the IPv6 options once Wireshark has found all headers.
function options.dissector(_, pinfo, tree)
  local added = 0
  local lists = headers
  headers = {}
  for _, info in ipairs({ field_hop_by_hop() }) do
    local header = info.range
    local first = find_options(header, xcast.prefs.hop_by_hop_option)[1]
    if first and first:len() == 2 and first:offset() == header:offset() + 2 then
      local item = tree:add(xcast, first, "Xcast semi-permeable tunnel")
      item:add(f.semi_permeable, first, true)
      pinfo.cols.info:append(" [semi-permeable]")
      added = added + 1
    end
  end
  for _, info in ipairs({ field_destination_options() }) do
    local addresses, header = lists[info.offset], info.range
    if addresses then
      local found, whole = find_options(header, xcast.prefs.ports_option)
      for _, option in ipairs(found) do add_ports(tree, option, addresses) end
      if #found > 1 or not whole then
        local item = tree:add(xcast, header, "Xcast6 ports")
        local why = whole and "two ports options" or "an option is cut short"
        add_malformed(item, header, "length", why)
      end
      added = added + #found
    end
  end
  return added
end

register_postdissector(options)
bind()
