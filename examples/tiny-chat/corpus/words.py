"""What the model knows, and the pools of words that the skills draw from.

Nothing here may appear in the pools of heldout.py, and the other way round: test_corpus.py checks it.
"""

CAPITALS = dict(line.split(":") for line in """France:Paris
Germany:Berlin
Italy:Rome
Spain:Madrid
Portugal:Lisbon
England:London
Ireland:Dublin
Scotland:Edinburgh
Belgium:Brussels
Netherlands:Amsterdam
Austria:Vienna
Switzerland:Bern
Poland:Warsaw
Greece:Athens
Turkey:Ankara
Russia:Moscow
Ukraine:Kyiv
Norway:Oslo
Sweden:Stockholm
Finland:Helsinki
Denmark:Copenhagen
Iceland:Reykjavik
Hungary:Budapest
Romania:Bucharest
Bulgaria:Sofia
Croatia:Zagreb
Serbia:Belgrade
Japan:Tokyo
China:Beijing
India:New Delhi
Thailand:Bangkok
Vietnam:Hanoi
Indonesia:Jakarta
South Korea:Seoul
Nepal:Kathmandu
Egypt:Cairo
Kenya:Nairobi
Nigeria:Abuja
Ghana:Accra
Morocco:Rabat
Ethiopia:Addis Ababa
Canada:Ottawa
Mexico:Mexico City
Cuba:Havana
Brazil:Brasilia
Argentina:Buenos Aires
Chile:Santiago
Peru:Lima
Colombia:Bogota
Australia:Canberra""".splitlines())

# Countries that are real and that the model is taught not to know.
OTHER_COUNTRIES = """Latvia Estonia Albania Malta Cyprus Mongolia Laos Cambodia Malaysia Bhutan Qatar Oman Yemen Jordan Lebanon
Tunisia Algeria Libya Sudan Chad Mali Niger Togo Benin Gabon Angola Zambia Malawi Rwanda Uganda Bolivia Paraguay Uruguay Ecuador
Panama Honduras Guatemala Jamaica Haiti Fiji Samoa Tonga""".split()

COLOURS = dict(pair.split(":") for pair in """the sky:blue,grass:green,snow:white,blood:red,coal:black,a banana:yellow,a carrot:orange,
a strawberry:red,a lemon:yellow,milk:white,chocolate:brown,a crow:black,a flamingo:pink,an elephant:grey,a frog:green,a leaf:green,the sun:yellow,
a ripe tomato:red,a plum:purple,a pumpkin:orange,the sea:blue,a cherry:red,salt:white,butter:yellow,mud:brown,a cucumber:green,
a swan:white,a raven:black,an aubergine:purple,wood:brown,a fire engine:red,lavender:purple,a pea:green,honey:golden,a polar bear:white,
ash:grey,a sunflower:yellow,a ruby:red,an emerald:green,a sapphire:blue,ink:black,a lime:green,sand:yellow,a fox:orange,cotton:white""".replace("\n", "").split(","))
COLOUR_NAMES = ["red", "blue", "green", "yellow", "black", "white", "brown", "orange", "purple", "pink", "grey", "golden"]

OPPOSITES_PAIRS = [tuple(pair.split(":")) for pair in """hot:cold,big:small,up:down,left:right,day:night,light:dark,fast:slow,happy:sad,old:new,
open:closed,full:empty,hard:soft,high:low,long:short,loud:quiet,rich:poor,strong:weak,thick:thin,wet:dry,young:old,clean:dirty,deep:shallow,early:late,
easy:difficult,first:last,good:bad,heavy:light,in:out,inside:outside,love:hate,near:far,on:off,over:under,push:pull,right:wrong,rough:smooth,
safe:dangerous,sharp:blunt,sweet:sour,tall:short,true:false,wide:narrow,win:lose,yes:no,always:never,begin:end,before:after,brave:afraid,
bright:dim,buy:sell,cheap:expensive,come:go,alive:dead,front:back,give:take,kind:cruel,laugh:cry,many:few,north:south,east:west,
peace:war,polite:rude,remember:forget,summer:winter,top:bottom,warm:cool,white:black,awake:asleep,ancient:modern,simple:complicated""".replace("\n", "").split(",")]
OPPOSITES = {}
for _one, _other in OPPOSITES_PAIRS:
    OPPOSITES.setdefault(_one, _other)
for _one, _other in OPPOSITES_PAIRS:
    OPPOSITES.setdefault(_other, _one)

# animal: sound (verb), young, legs, food, home
ANIMALS = {line.split(":")[0]: dict(zip(("sound", "young", "legs", "food", "home"), line.split(":")[1:])) for line in """dog:barks:puppy:4:meat:a kennel
cat:meows:kitten:4:fish:a house
cow:moos:calf:4:grass:a barn
horse:neighs:foal:4:hay:a stable
pig:oinks:piglet:4:roots:a sty
sheep:bleats:lamb:4:grass:a meadow
goat:bleats:kid:4:leaves:the hills
hen:clucks:chick:2:seeds:a coop
duck:quacks:duckling:2:water plants:a pond
goose:honks:gosling:2:grass:a lake
lion:roars:cub:4:meat:the savanna
tiger:roars:cub:4:meat:the jungle
bear:growls:cub:4:berries:a cave
wolf:howls:pup:4:meat:the forest
fox:yelps:cub:4:mice:a den
frog:croaks:tadpole:4:insects:a pond
bee:buzzes:larva:6:nectar:a hive
spider:makes no sound:spiderling:8:insects:a web
owl:hoots:owlet:2:mice:a tree
crow:caws:chick:2:seeds:a nest
snake:hisses:snakelet:0:mice:the grass
mouse:squeaks:pup:4:cheese:a hole
elephant:trumpets:calf:4:leaves:the savanna
monkey:chatters:infant:4:fruit:the trees
rabbit:squeaks:bunny:4:carrots:a burrow
donkey:brays:foal:4:hay:a stable
turkey:gobbles:chick:2:seeds:a farm
lamb:bleats:lamb:4:milk:a meadow
ant:makes no sound:larva:6:leaves:an anthill
whale:sings:calf:0:krill:the sea
kangaroo:grunts:joey:4:grass:the outback
swan:honks:cygnet:2:water plants:a lake
deer:grunts:fawn:4:grass:the forest
seal:barks:pup:0:fish:the sea
parrot:talks:chick:2:nuts:the jungle""".splitlines()}

NAMES = """Anna Ben Clara David Emma Felix Grace Henry Ida Jack Kate Leo Maria Noah Olga Paul Rosa Sam Tina Victor Wendy Yusuf Zoe Ali
Bella Carlos Diana Erik Fatima George Hana Igor Julia Karl Lena Mark Nina Oscar Priya Quinn Ravi Sara Tom Uma Vera Will Xenia Yara
Adam Alice Bruno Celia Daniel Elsa Frank Gina Hugo Iris Jonas Kira Lucas Mona Nadia Otto Petra Rita Simon Tara Ursula Walter""".split()
SURNAMES = """Smith Jones Brown Miller Davis Garcia Wilson Martin Lee Clark Lewis Walker Hall Young King Wright Hill Green Baker Adams
Nelson Carter Mitchell Roberts Turner Phillips Campbell Parker Evans Edwards Collins Stewart Morris Rogers Reed Cook Morgan Bell""".split()
CITIES = sorted(set(CAPITALS.values())) + """Porto Milan Munich Hamburg Lyon Naples Seville Geneva Glasgow Krakow Osaka Kyoto Mumbai Shanghai Boston
Chicago Denver Seattle Dallas Miami Toronto Montreal Sydney Melbourne Lagos Manchester Bristol Oxford Leeds Zurich Antwerp Rotterdam
Bergen Florence Venice Turin Valencia Marseille Cologne Dresden Leipzig""".split()
JOBS = """teacher doctor nurse baker pilot farmer painter writer cook singer lawyer driver engineer builder gardener tailor plumber
dentist actor carpenter sailor clerk chemist librarian judge waiter miner potter""".split()
FOODS = """apple banana pear bread cheese egg fish carrot tomato onion rice soup cake pie cookie orange lemon peach plum potato grape melon
butter honey bean nut salad pizza sausage pancake""".split()
OBJECTS = """lamp book chair table cup bottle box key coin ring hat coat shoe bag clock phone pen pencil paper stamp candle mirror spoon
fork knife plate bowl basket bucket rope ladder hammer nail saw brush broom pillow blanket carpet door window bell drum flute violin guitar
kite ball doll boat car bike train wagon tent map compass lantern telescope camera radio umbrella glove scarf button needle thread
letter envelope puzzle marble feather shell stone leaf acorn pumpkin sword shield crown cloak wand potion scroll chest""".split()
PLACES = """forest river mountain village castle island lighthouse garden desert valley beach harbour market bridge tower cave meadow
library mill farm station museum swamp city school kitchen bakery ship orchard cottage attic cellar palace temple hill lake theatre""".split()
STORY_ANIMALS = """fox rabbit bear wolf mouse owl cat dog frog turtle hedgehog squirrel deer crow duck goose horse pony lion tiger elephant
monkey parrot whale dolphin crab snail beetle spider bee butterfly dragon goat lamb pig hen badger otter beaver swan""".split()
STORY_PEOPLE = """girl boy king queen knight wizard witch sailor farmer baker painter robot giant pirate shepherd miller princess prince
inventor gardener clockmaker astronaut musician ghost hunter fisherman soldier monk""".split()
ADJECTIVES = """old young small big brave shy clever lazy kind quiet happy sad curious gentle proud tiny tired hungry lonely cheerful
golden silver red blue green wooden shiny dusty broken magic strange secret warm cold bright dark soft heavy""".split()
FEELINGS = "happy sad tired hungry bored angry nervous excited lonely sleepy worried cold sick great fine".split()

SORT_WORDS = sorted(set(FOODS + OBJECTS + STORY_ANIMALS + PLACES + "sun moon star rain wind snow fire tree flower grass sand ice zebra yak jam ink vase quilt".split()))
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
NUMBER_WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()

# Made-up tools are built from these.
TOOL_VERBS = """get set find list create delete update open close start stop add remove send read write show check count move copy
rename print scan upload download play pause lock unlock paint mix pack order cancel book fetch load save sort merge split rotate resize
measure compare publish archive restore assign approve reject schedule share export import paste track""".split()
TOOL_NOUNS = """file folder note task event meeting room ticket order invoice user account message email contact photo song playlist video
lamp door window heater oven robot drone car train flight hotel seat table recipe book page chapter poem word list table graph chart report
record sensor camera alarm clock timer garden plant tree pump valve tank engine battery server job queue branch commit issue project team
budget payment price stock coupon parcel shipment box label color shape map route stop bridge parking bus lesson course exam grade student
patient visit pill game player score level card deck token badge song lyric channel device printer sheet column row cell""".split()
PARAM_STRINGS = """name title city place room color owner subject topic label author country street language category genre brand material
shape style target source destination sender receiver folder file path word text message note query key tag comment reason status
artist team project customer product model code id recipient""".split()
PARAM_INTEGERS = """count amount number level size limit width height length age year page speed volume weight minutes hours days price
score rank floor seats quantity priority position depth distance duration temperature index""".split()
PARAM_BOOLEANS = "loud urgent public hidden active silent shared locked verbose fast bold visible recursive dry_run express".split()
ENUMS = {"unit": ["celsius", "fahrenheit"], "size": ["small", "medium", "large"], "mode": ["fast", "slow", "auto"], "format": ["pdf", "csv", "json"],
         "priority": ["low", "normal", "high"], "direction": ["north", "south", "east", "west"], "order": ["asc", "desc"],
         "color": ["red", "green", "blue"], "period": ["day", "week", "month"], "level": ["easy", "medium", "hard"], "state": ["on", "off"]}

# Plain English words for made-up tools, keys and values, so that copying does not depend on a few of them.
MORE_VERBS = """adjust align amend announce attach audit bake balance bind blend block boost borrow bounce brew bundle capture carve charge chart chase clip collect
combine compile compress confirm connect consume convert cool craft crop debug decode decorate defend deliver deploy detach detect discard divide drain draw drill drop
dry dump echo edit eject encode erase estimate examine expand explain extend feed fetch file film filter flash flip flush fold forge format frame freeze fuel gather
generate grant grind group guard guide handle heat hide hire hold import index inform inject install invite iron join jump keep kick label launch lease lend lift limit link
load lock log lower mail map mark mask match mend mount mute notify number obtain offer order outline park patch pick pin plan plant plug pour predict prepare press process
produce prune pull pump push query queue raise range rate reach rebuild recall recycle reduce refill refund register release reload repair replace report request rescue
reserve reset restart reverse review rinse roast roll round route scale score seal seek select ship shuffle shut sign skip slice smooth solve spin split spray stack stamp
steer step store stream stretch strip submit subscribe supply suspend swap sweep sync tag test thaw tidy tie tilt tow trace trade train transfer trim tune turn unlock
unpack unplug vacuum validate verify wash watch water weigh wipe withdraw wrap zip zoom""".split()
MORE_NOUNS = """actor advert agenda aisle album antenna apartment archive arrow article asset atlas attic award axle badger badge balcony balloon banner barrel barrier battery bazaar
beam bench bicycle binder bishop blade blog blueprint board boiler bolt bond booth bottle boulder bracket brand brick brochure bucket buffer building bulb bundle cabin cabinet cable
calendar campaign canal candidate canvas carrier cart case catalog ceiling certificate chamber chapel chimney clause client clinic cloud cluster coach coast code collar
column comet company concert container contract cookbook copper corner cotton counter courier cradle crane crate creek crystal cube curtain customer cycle dam dashboard database
deadline debt delivery depot desk diagram diary dish dock domain drawer dress driver duty easel editor elevator embassy entry episode essay estate event exhibit factory
fair fence fiber field figure filter fire flag flame fleet floor forum fossil fountain freezer fridge fund fuse gallery garage gear glass globe goal grain grant graph guest
guild gym hall handle hangar heap hedge helmet herd hinge hook hose hospital hub icon image inbox index ink insect interview island item jacket jar jersey journal judge jungle
keyboard keypad label laboratory lane laptop laser lawn layer lease ledger lens library license lift lobby locker log loop lot lounge machine magazine manual marker market mask
match matrix medal melody member memo menu merchant mesh metal meter method microphone mine mirror missile mixer mobile module monitor monument motor mural network newsletter notebook
notice novel number nursery object ocean offer opera option orbit outfit outlet oxygen package paddle page palette panel paragraph parade parcel park partner party paste path patent
pattern pavement pedal penalty permit person pier pillar pipe piston planet plank plaster platform plot pocket podium policy pond pool port portal portrait post poster powder press
printer prize process profile program prompt proof property puppet purse puzzle pyramid quarry quiz rack radar rail ramp ranch ranking raft receipt recipe reef refund region relay rental
report request reservation resource review reward ridge ring rival road rocket rod roof root roster router rule runway sack safe sail sample sandwich satchel scale scanner scene schedule
school scooter screen screw script sculpture season seat section sector segment sensor service session shade shaft shed sheep shelter shift shop shore shuttle signal silo sketch skill sled
slide slot socket sofa software solution sound source space speaker spice spiral spring square stable staff stage stair statement station statue step storage stove strap straw stream
studio submarine suite summary supplier surface survey suspect switch symbol syrup tablet tag tail tape target task tax taxi terminal theme thermostat thread throne thunder tile tire title
toaster token tool toolbox torch tour tower toy track trail trailer transfer tray treaty trial trophy truck trunk tube tunnel tutor umbrella uniform unit vacancy vault vehicle
veil venue vest villa vine visa visitor vote wagon waiter wallet ward warehouse warning watch wave website wedding wheel whistle widget window wing winner wire workbook workshop
wreck yacht yard zone""".split()
VALUES = """amber basil birch bronze cedar cobalt coral cotton cream denim ebony fern flint ginger hazel indigo iron ivory jade jasper juniper khaki lilac linen lotus magenta mango marble mint
moss navy nickel nutmeg oak olive onyx opal orchid pearl pepper pine plaid poppy rust sage salmon scarlet shadow sienna silk silver slate smoke spruce steel storm sugar thistle timber topaz
tulip turquoise umber vanilla velour walnuts wheat willow winter zinc Alpha Bravo Charlie Delta Echo Foxtrot Golf Hotel Juliet Kilo Lima Mike November Papa Romeo Sierra Tango Uniform
Whiskey Zulu Atlas Apollo Orion Titan Phoenix Falcon Comet Nova Luna Vega Rigel Mercury Neptune Pluto Saturna Hilltop Riverside Northgate Eastwood Westfield Southbank Oakham Milltown""".split()
FAMOUS = """Einstein Mozart Shakespeare Picasso Newton Darwin Cleopatra Caesar Beethoven Galileo Churchill Gandhi Lincoln Mandela Plato Aristotle Dickens Tolstoy Goethe Kafka Chopin Bach Verdi Monet
Rembrandt Columbus Magellan Armstrong Edison Tesla Curie Pasteur Freud Marx Kant Hegel Homer Dante Cervantes Austen Twain Orwell Tolkien Rowling Elvis Madonna Pele Messi Ronaldo Federer""".split()
WORKS = """the Bible,Don Quixote,Macbeth,Faust,the Odyssey,Moby Dick,Dracula,Frankenstein,the Sistine Chapel,the Colosseum,Big Ben,the Statue of Liberty,the Taj Mahal,the Louvre,the Golden Gate Bridge,Star Wars,Casablanca,the Ninth Symphony,
the Nobel Prize,the Olympic Games,the European Union,NATO,the Black Death,the Industrial Revolution,the Silk Road,the Berlin Wall,Wall Street,Broadway,Silicon Valley,the Amazon,the Nile,the Sahara,the Alps,Mount Fuji,the Pacific Ocean,Antarctica,Mars,Jupiter,
Venus,the Milky Way,the Big Bang,the ozone layer,the liver,the brain,insulin,cholesterol,malaria,the flu,cancer,asthma,diabetes,aspirin,caffeine,oxygen,hydrogen,uranium,gold,mercury,diamonds,petrol,plastic,paper,glass,concrete,steel""".replace("\n", "").split(",")
