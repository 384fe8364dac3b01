%%% A name server that says what a test wants, over UDP, on loopback unless told.
%%%
%%% The test gives a function of name and type, which runs for each question in a process of its own, so a slow answer holds up
%%% no other.
-module(ferrets_test_dns).

-export([start/1, start/3, stop/1, resolver_options/1]).

-type answer() :: [inet:ip_address()] | nxdomain | servfail | silence.

-spec start(fun((string(), a | aaaa) -> answer())) -> {pid(), inet:port_number()}.
start(Answer) ->
    start({127, 0, 0, 1}, 0, Answer).

-spec start(inet:ip_address(), inet:port_number(), fun((string(), a | aaaa) -> answer())) -> {pid(), inet:port_number()}.
start(Address, WantedPort, Answer) ->
    Self = self(),
    Pid = spawn_link(fun() ->
        {ok, Socket} = gen_udp:open(WantedPort, [binary, {ip, Address}]),
        {ok, Port} = inet:port(Socket),
        Self ! {self(), Port},
        serve(Socket, Answer)
    end),
    receive {Pid, Port} -> {Pid, Port} end.

-spec stop({pid(), inet:port_number()}) -> ok.
stop({Pid, _}) ->
    unlink(Pid),
    exit(Pid, kill),
    ok.

%% For `ferrets_discovery_dns': ask there, and nobody else.
-spec resolver_options({pid(), inet:port_number()}) -> list().
resolver_options({_, Port}) ->
    [{nameservers, [{{127, 0, 0, 1}, Port}]}, {timeout, 500}, {retry, 2}].

serve(Socket, Answer) ->
    receive
        {udp, Socket, Ip, Port, Packet} ->
            spawn(fun() -> answer(Socket, Ip, Port, Packet, Answer) end),
            serve(Socket, Answer)
    end.

answer(Socket, Ip, Port, Packet, Answer) ->
    {ok, Question} = inet_dns:decode(Packet),
    [Query] = inet_dns:msg(Question, qdlist),
    #{domain := Name, type := Type} = maps:from_list(inet_dns:dns_query(Query)),
    case reply(Answer(Name, Type), Name, Type) of
        silence ->
            ok;
        {Code, Records} ->
            Header = inet_dns:make_header(inet_dns:msg(Question, header), [{qr, true}, {aa, true}, {rcode, Code}]),
            Reply = inet_dns:make_msg(Question, [{header, Header}, {anlist, Records}, {arlist, []}]),
            gen_udp:send(Socket, Ip, Port, inet_dns:encode(Reply))
    end.

%% With the response codes of RFC 1035.
reply(silence, _Name, _Type) -> silence;
reply(servfail, _Name, _Type) -> {2, []};
reply(nxdomain, _Name, _Type) -> {3, []};
reply(Addresses, Name, Type) ->
    {0, [inet_dns:make_rr([{domain, Name}, {type, Type}, {class, in}, {ttl, 1}, {data, Address}]) || Address <- Addresses]}.
