package HotServers;

# A real stack with a card, its key, token and thumbnail, and beside it nginx
# processes of the measurement's own, one worker each, that answer from the
# same Redis: "redis" asks it every time, "cache" has a cache, "lua" does the
# same in OpenResty's way.  All are pinned to the servers' core.

use strict;
use warnings;

use FindBin;
use Exporter 'import';

use Bench qw(cores filled has_directive nginx pinned put_file);
use CardxTest;

our @EXPORT_OK = qw(hot_servers);

my %card = (uid => 'urn:cardx:bench', name => { full => 'Anna Bench' },
    titles => { t => { name => 'Engineer' } },
    phones => { work => { number => '+86 21 5555 0100' } },
    notes => { n => { note => 'n' x 1700 } });

# {t, id, key, token, body, etag, fetched, thumbnail, picture, has_updates,
# server => {name => {url, tls, pid, pids}}}
sub hot_servers {
    my (@names) = @_;
    my $t = CardxTest->new->start;
    my $token = $t->register('+8613900000001')->{access_token};
    my $id = $t->card({ token => $token }, %card);
    my $drawn = $t->key({ token => $token }, $id, ttl => 86400);
    my ($key, $thumbnail) = @$drawn{qw(key thumbnail)};
    my $fetched = $t->get("/c/$id", undef, { key => $key });
    my $self = { t => $t, id => $id, key => $key, token => $token,
        fetched => $fetched, body => $fetched->{body},
        etag => $fetched->{headers}{etag}, thumbnail => $thumbnail,
        picture => $t->get($thumbnail)->{body},
        has_updates => has_directive($t->{build}, 'cardx_updates'),
        dir => $t->var . '/bench', user => scalar getpwuid $> };

    mkdir $self->{dir} or die "$self->{dir}: $!";
    chmod 0755, $self->{dir};
    put_file("$self->{dir}/card", $self->{body});
    put_file("$self->{dir}/thumbnail", $self->{picture});

    for my $name (@names) {
        $self->{server}{$name} = $name eq 'lua' ? start_lua($self)
            : start_module($self, $name);
    }
    ready($self, $_) for @names;
    pinned((cores())[0], $t->pid('redis'));
    return $self;
}

# The limit and the module, with or without a cache.
sub start_module {
    my ($self, $name) = @_;
    my ($t, $dir) = @$self{qw(t dir)};
    my ($port, $tls) = (CardxTest::free_port(), CardxTest::free_port());
    (my $quoted = $self->{body}) =~ s/([\\'])/\\$1/g;

    put_file("$dir/$name.conf", filled("$FindBin::Bin/hotpath.conf",
        LOAD_MODULE => $ENV{CARDX_NGINX} ? ''
            : "load_module $t->{build}/ngx_http_cardx_module.so;",
        USER => $self->{user}, DIR => $dir, NAME => $name,
        PORT => $port, TLS_PORT => $tls, REDIS => $t->{redis},
        CERTIFICATES => $t->var . '/tls',
        CACHE => $name eq 'cache' ? 'cardx_cache zone=bench:32m;'
            : 'cardx_cache off;',
        ID_KEY => $t->var . '/secrets/id_key', CARD => $quoted,
        ETAG => $self->{etag}, REDIRECT => "/c/$self->{id}?k=$self->{key}",
        UPDATES => !$self->{has_updates} ? ''
            : 'location = /v1/updates { cardx_auth on; cardx_updates on; }'));
    return { url => "http://127.0.0.1:$port",
        tls => "https://127.0.0.1:$tls", pid => nginx("$dir/$name.conf") };
}

sub start_lua {
    my ($self) = @_;
    my ($t, $dir) = @$self{qw(t dir)};
    my $port = CardxTest::free_port();

    put_file("$dir/lua.conf", filled("$FindBin::Bin/lua/nginx.conf",
        USER => $self->{user}, DIR => $dir, LUA => "$FindBin::Bin/lua",
        ID_KEY => $t->var . '/secrets/id_key', REDIS => $t->{redis},
        PORT => $port));
    return { url => "http://127.0.0.1:$port",
        pid => nginx("$dir/lua.conf", packaged => 1) };
}

sub ready {
    my ($self, $name) = @_;
    my ($t, $server) = ($self->{t}, $self->{server}{$name});

    $t->wait_for(sub {
        my $r = $t->get("$server->{url}/c/$self->{id}", undef,
            { key => $self->{key} });
        $r->{status} == 200 && $r->{body} eq $self->{body};
    }, 60) or die "nginx '$name' does not answer; see "
        . "$self->{dir}/$name-error.log";

    $server->{pids} = [ Bench::children($server->{pid}) ];
    pinned((cores())[0], @{ $server->{pids} });
}

1;
