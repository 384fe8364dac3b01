%%% When which node was connected, lost and started, as this node saw it.
%%%
%%% A pure structure of `ferrets_discovery': it keeps the latest times only, for nodes that discovery still wants to hear of.
%%% By its start time a node that comes back is told to be the same, after a netsplit, or a restarted one.
%%%
%%% Times are system time in milliseconds.
-module(ferrets_timeline).

-export([new/0, up/3, down/3, started/3, forget/3, was_lost/2, has_lost/3, info/1]).

-export_type([timeline/0, ms/0]).

-type ms() :: integer().

-record(timeline, {
    up = #{} :: #{node() => ms()},
    down = #{} :: #{node() => ms()},
    start = #{} :: #{node() => ms()},
    %% Who has said its start time since it is up: it may do so more than once.
    heard = [] :: [node()]
}).

-opaque timeline() :: #timeline{}.

-spec new() -> timeline().
new() -> #timeline{}.

%% A node is connected. For how long it was not, if it ever was.
-spec up(node(), ms(), timeline()) -> {DownMs :: ms() | undefined, timeline()}.
up(Node, Now, #timeline{up = Up, down = Down, heard = Heard} = Timeline) ->
    {since(Node, Now, Down), Timeline#timeline{up = Up#{Node => Now}, heard = lists:delete(Node, Heard)}}.

%% A node is lost. For how long it was connected.
-spec down(node(), ms(), timeline()) -> {UpMs :: ms() | undefined, timeline()}.
down(Node, Now, #timeline{up = Up, down = Down} = Timeline) ->
    {since(Node, Now, Up), Timeline#timeline{up = maps:remove(Node, Up), down = Down#{Node => Now}}}.

-spec since(node(), ms(), #{node() => ms()}) -> ms() | undefined.
since(Node, Now, Times) ->
    case Times of
        #{Node := Then} -> Now - Then;
        #{} -> undefined
    end.

%% A node says when it was started.
-spec started(node(), ms(), timeline()) -> {new | known | returned | restarted, timeline()}.
started(Node, Start, #timeline{start = Starts, heard = Heard} = Timeline) ->
    How =
        case {Starts, lists:member(Node, Heard)} of
            {#{Node := Start}, true} -> known;
            {#{Node := Start}, false} -> returned;
            {#{Node := _}, _} -> restarted;
            {#{}, _} -> new
        end,
    {How, Timeline#timeline{start = Starts#{Node => Start}, heard = lists:umerge([Node], Heard)}}.

%% Forgets what was lost before `Then', unless it is one of these nodes: names that come and go must not pile up.
-spec forget(Then :: ms(), [node()], timeline()) -> timeline().
forget(Then, Nodes, #timeline{up = Up, down = Down, start = Start, heard = Heard} = Timeline) ->
    IsKept = fun(Node, DownAt) -> DownAt >= Then orelse is_map_key(Node, Up) orelse lists:member(Node, Nodes) end,
    Kept = maps:filter(IsKept, Down),
    Dropped = maps:keys(maps:without(maps:keys(Kept), Down)),
    Timeline#timeline{down = Kept, start = maps:without(Dropped, Start), heard = Heard -- Dropped}.

%% Whether a node has been connected and lost before.
-spec was_lost(node(), timeline()) -> boolean().
was_lost(Node, #timeline{down = Down}) ->
    is_map_key(Node, Down).

%% Whether a node was lost since `Then', or one of these nodes is lost still.
-spec has_lost(Then :: ms(), [node()], timeline()) -> boolean().
has_lost(Then, Nodes, #timeline{up = Up, down = Down}) ->
    lists:any(
        fun({Node, DownAt}) -> DownAt >= Then orelse (lists:member(Node, Nodes) andalso not is_map_key(Node, Up)) end,
        maps:to_list(Down)
    ).

-spec info(timeline()) ->
    #{
        nodeup_timestamps := #{node() => ms()},
        nodedown_timestamps := #{node() => ms()},
        node_start_timestamps := #{node() => ms()}
    }.
info(#timeline{up = Up, down = Down, start = Start}) ->
    #{nodeup_timestamps => Up, nodedown_timestamps => Down, node_start_timestamps => Start}.
