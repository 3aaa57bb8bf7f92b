-- First and later orders by day of payment, the last 30 days: buyer_open_uid tells buyers apart without saying who they are.
SELECT day, count(*) FILTER (WHERE NOT bought_before) AS first_orders,
       count(*) FILTER (WHERE bought_before) AS later_orders
FROM (
    SELECT (o.paid_at AT TIME ZONE 'Asia/Shanghai')::date AS day,
           EXISTS (SELECT FROM bi.orders e
                   WHERE e.shop_id = o.shop_id AND e.buyer_open_uid = o.buyer_open_uid
                     AND e.paid_at < o.paid_at) AS bought_before
    FROM bi.orders o
    WHERE o.shop_id = 'my-shop' AND o.paid_at >= now() - interval '30 days' AND o.buyer_open_uid IS NOT NULL
) paid
GROUP BY day
ORDER BY day;
